"""Where a replica computes, and in which element type."""

import pytest
import torch

from common.config import DTypeName
from common.devices import choose_device, choose_dtype


@pytest.mark.parametrize("wanted", ["cpu", "cuda"])
def test_a_named_device_is_taken(wanted: str) -> None:
    assert choose_device(wanted).type == wanted


def test_left_alone_it_takes_cuda_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("wanted", "device", "expected"),
    [
        ("auto", "cpu", torch.float32),
        ("auto", "cuda", torch.bfloat16),
        ("float32", "cuda", torch.float32),
        ("bfloat16", "cpu", torch.bfloat16),
    ],
)
def test_the_element_type_follows_the_device_unless_named(
    wanted: DTypeName, device: str, expected: torch.dtype
) -> None:
    assert choose_dtype(wanted, torch.device(device)) is expected
