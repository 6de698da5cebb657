"""Numbers and tensors on a device; without a GPU there is nothing to wait for."""

import torch

from language_service.uploads import upload, upload_indexes, upload_tensor

CPU = torch.device("cpu")


def test_numbers_and_rows_of_numbers() -> None:
    assert torch.equal(upload([1, 2], torch.int64, CPU), torch.tensor([1, 2]))
    rows = upload([(0.5, 1), (2, 3.0)], torch.float64, CPU)
    assert (rows.dtype, rows.tolist()) == (torch.float64, [[0.5, 1.0], [2.0, 3.0]])
    assert upload([], torch.int64, CPU).shape == (0,)


def test_many_indexes() -> None:
    assert torch.equal(upload_indexes(list(range(1000)), CPU), torch.arange(1000))
    assert upload_indexes([], CPU).dtype is torch.int64


def test_what_is_there_is_not_copied() -> None:
    tensor = torch.randn(3)
    assert upload_tensor(tensor, CPU) is tensor
