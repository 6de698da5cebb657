"""How large the KV cache becomes: arithmetic, the step that is measured, and what is refused."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from common.config import LanguageServiceConfig
from common.errors import StartupError
from language_service.kv_sizing import (
    CacheNeed,
    MemoryUse,
    Step,
    choose_kv_tokens,
    fitting_tokens,
    largest_step,
)
from language_service.sampler import SampledTokens
from language_service.scheduler import EngineLimits
from tests.language_service.harness import CONFIG

GIB = 1 << 30
LIMITS = EngineLimits(max_context_tokens=256, max_batch_tokens=67, max_sequences=8)
AUTO = LanguageServiceConfig(gpu_memory_utilization=0.5)
BYTES_PER_TOKEN = 2 * CONFIG.num_hidden_layers * 2 * 16 * 4


class Meter:
    """A device of so much memory, which the step is run on."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.outcome: object = None

    def measure(self, prepare: Callable[[], Step]) -> MemoryUse:
        self.outcome = prepare()()
        return MemoryUse(self.total, used=1_000_000, step=500_000)


class Exhausted:
    """A device that has none left."""

    def measure(self, prepare: Callable[[], Step]) -> MemoryUse:
        raise torch.OutOfMemoryError(prepare)


def test_an_8b_model_on_an_80_gib_card() -> None:
    need = CacheNeed(bytes_per_token=147_456, block_size=16, context_tokens=40_960)
    memory = MemoryUse(80 * GIB, used=17 * GIB, step=2 * GIB)
    tokens = fitting_tokens(memory, 0.9, need)
    assert tokens == (53 * GIB // (147_456 * 16) - 1) * 16
    assert 380_000 < tokens < 390_000


def test_the_spare_block_has_its_place() -> None:
    need = CacheNeed(bytes_per_token=10, block_size=16, context_tokens=16)
    assert fitting_tokens(MemoryUse(1000, 200, 160), 1.0, need) == 48
    assert fitting_tokens(MemoryUse(1000, 200, 161), 1.0, need) == 32


@pytest.mark.parametrize(
    ("used", "context_tokens", "room"), [(660, 17, 16), (990, 1, 0), (2000, 1, 0)]
)
def test_too_little_for_the_longest_request_is_refused_with_all_numbers(
    used: int, context_tokens: int, room: int
) -> None:
    need = CacheNeed(10, 16, context_tokens)
    start = f"The KV cache has room for {room} tokens and the longest request has {context_tokens}:"
    with pytest.raises(StartupError, match=start) as refused:
        fitting_tokens(MemoryUse(1000, used, 0), 1.0, need)
    assert "gpu_memory_utilization is 1." in str(refused.value)


def test_what_is_left_is_measured_with_the_largest_step(model: PreTrainedModel) -> None:
    meter = Meter(10_000_000)
    tokens = choose_kv_tokens(model, AUTO, LIMITS, meter)
    assert tokens == ((5_000_000 - 1_500_000) // (BYTES_PER_TOKEN * 16) - 1) * 16
    assert isinstance(meter.outcome, SampledTokens)
    assert len(meter.outcome.token_ids) == LIMITS.max_sequences


def test_the_largest_step_has_every_token_that_there_may_be(model: PreTrainedModel) -> None:
    seen: list[int] = []
    hook = model.get_input_embeddings().register_forward_hook(
        lambda *called: seen.append(len(called[-1]))
    )
    largest_step(model, 16, LIMITS)()
    hook.remove()
    assert seen == [LIMITS.max_batch_tokens]


def test_a_device_that_cannot_run_the_step_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(StartupError, match="no memory for a step of 67 tokens"):
        choose_kv_tokens(model, AUTO, LIMITS, Exhausted())


def test_elsewhere_the_number_is_given_or_fixed(model: PreTrainedModel) -> None:
    assert choose_kv_tokens(model, LanguageServiceConfig(kv_tokens=77), LIMITS, Meter(0)) == 77
    assert choose_kv_tokens(model, AUTO, LIMITS, None) == 65_536
    long = EngineLimits(100_000, 512, 32)
    assert choose_kv_tokens(model, AUTO, long, None) == 100_000
