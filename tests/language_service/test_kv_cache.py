"""What is written by slot is read by run, without copies."""

import torch
from transformers import PreTrainedModel

from language_service.kv_cache import KvCache, KvShape
from language_service.kv_runs import KvRun
from tests.language_service.harness import CONFIG


def test_shape_and_size_of_a_model(model: PreTrainedModel) -> None:
    cache = KvCache.for_model(model, 100)
    assert cache.shape == KvShape(CONFIG.num_hidden_layers, 2, 16)
    assert (cache.num_tokens, cache.num_free_tokens) == (96, 96)
    assert cache.kv_bytes == 96 * 2 * 3 * 2 * 16 * 4


def test_bytes_of_a_published_model() -> None:
    assert KvShape(36, 8, 128).bytes_per_token(torch.bfloat16) == 147456


def test_rows_are_read_where_they_were_written() -> None:
    cache = KvCache(KvShape(2, 2, 4), 64, torch.float32, torch.device("cpu"))
    keys, values = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    cache.write(1, torch.tensor([16, 17, 18]), keys, values)
    run = KvRun(16, 16)
    assert torch.equal(cache.keys(1, run, 3), keys)
    assert torch.equal(cache.values(1, run, 3), values)


def test_reading_copies_nothing() -> None:
    cache = KvCache(KvShape(1, 2, 4), 64, torch.float32, torch.device("cpu"))
    first, second = cache.keys(0, KvRun(0, 64), 64), cache.keys(0, KvRun(16, 16), 5)
    assert second.data_ptr() == first[16].data_ptr()
