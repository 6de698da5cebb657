"""What is written by slot is read where the sequence lies, without copies where it is one run."""

import pytest
import torch
from transformers import PreTrainedModel

from common.errors import StartupError
from language_service.block_tables import KvBlocks, SlotCopy
from language_service.kv_cache import KvCache, KvPlace, KvShape
from tests.language_service.harness import CONFIG


def cache_of(num_layers: int = 1) -> KvCache:
    shape = KvShape(num_layers, 2, 4)
    return KvCache(shape, KvBlocks(64), torch.float32, torch.device("cpu"))


def test_shape_of_a_model(model: PreTrainedModel) -> None:
    cache = KvCache.for_model(model, KvBlocks(100))
    assert cache.shape == KvShape(CONFIG.num_hidden_layers, 2, 16)
    assert cache.layer(0)[0].shape == (2, 96 + 16, 16)


def test_a_cache_that_does_not_fit_is_refused_with_its_size() -> None:
    shape = KvShape(1, 1, 1 << 46)
    with pytest.raises(StartupError, match=r"64 tokens, which takes 41943040.0 GiB: lower"):
        KvCache(shape, KvBlocks(64), torch.float32, torch.device("cpu"))


def test_nobody_has_the_spare_block() -> None:
    cache = cache_of()
    assert cache.spare_block == 4
    keys, values = cache.layer(0)
    assert keys.shape == values.shape == (2, 64 + 16, 4)


def test_bytes_of_a_published_model() -> None:
    assert KvShape(36, 8, 128).bytes_per_token(torch.bfloat16) == 147456


def test_rows_are_read_where_they_were_written() -> None:
    cache = cache_of(num_layers=2)
    keys, values = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    cache.write(1, torch.tensor([16, 17, 18]), keys, values)
    assert torch.equal(cache.keys(1, KvPlace(16), 3), keys)
    assert torch.equal(cache.values(1, KvPlace(16), 3), values)
    assert not cache.keys(0, KvPlace(16), 3).any()


def test_scattered_rows_are_gathered_in_order() -> None:
    cache = cache_of()
    keys = torch.randn(3, 2, 4)
    slots = torch.tensor([40, 3, 17])
    cache.write(0, slots, keys, keys)
    assert torch.equal(cache.keys(0, KvPlace(-1, slots), 2), keys[:2])


def test_reading_a_run_copies_nothing() -> None:
    cache = cache_of()
    first, second = cache.keys(0, KvPlace(0), 64), cache.keys(0, KvPlace(16), 5)
    assert second.data_ptr() == first[16].data_ptr()
    keys, _ = cache.batch(0, 16, 16, (5, 3))
    assert keys.data_ptr() == second.data_ptr()


def test_a_batch_reads_each_sequence_from_its_begin() -> None:
    cache = cache_of(num_layers=2)
    rows = torch.randn(48, 2, 4)
    cache.write(1, torch.arange(48), rows, rows * 2)
    keys, values = cache.batch(1, 4, 20, (7, 9))
    assert keys.shape == (2, 2, 9, 4)
    assert torch.equal(keys[1].transpose(0, 1), rows[24:33])
    assert torch.equal(values[0].transpose(0, 1), rows[4:13] * 2)


def test_copies_are_made_in_order_in_every_layer() -> None:
    cache = cache_of(num_layers=2)
    rows = torch.randn(8, 2, 4)
    cache.write(1, torch.arange(8), rows, rows)
    cache.copy([SlotCopy(0, 20, 8), SlotCopy(22, 40, 3)])
    assert torch.equal(cache.values(1, KvPlace(40), 3), rows[2:5])


def test_cleared_slots_are_zero() -> None:
    cache = cache_of(num_layers=2)
    rows = torch.full((3, 2, 4), float("nan"))
    cache.write(1, torch.tensor([4, 5, 6]), rows, rows)
    cache.clear(torch.tensor([4, 6]))
    assert cache.keys(1, KvPlace(4), 3).isnan().any(dim=-1).any(dim=-1).tolist() == [
        False, True, False,
    ]  # fmt: skip
