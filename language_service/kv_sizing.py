"""How many tokens the KV cache holds, where the configuration leaves it to the device.

On a CPU a fixed number. On a GPU, what is left of the share of its memory that may be used, after
weights, whatever else is on the card, and the most that a step takes: measured by running one, the
largest that there can be, all of whose rows are drawn. `fitting_tokens` is the arithmetic. The
measurement **has never run on a card**.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import PreTrainedModel

from common.config import CPU_KV_TOKENS, LanguageServiceConfig
from common.errors import StartupError
from common.types import SamplingParameters
from language_service.block_tables import KvBlocks
from language_service.kv_cache import KvCache, KvShape
from language_service.model_runner import ModelRunner
from language_service.prompt import Prompt, TextSegment
from language_service.scheduler import EngineLimits, Scheduler
from language_service.sequence import Sequence

log = logging.getLogger(__name__)

Step = Callable[[], object]

# Every row is drawn from the whole distribution, after a filter: nothing takes more memory.
WIDEST_SAMPLING = SamplingParameters(max_tokens=1, temperature=1.0, seed=0, top_p=0.99)


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What a device's memory holds when the KV cache is about to be made, in bytes.

    Attributes:
        total: All of it.
        used: Weights, and whatever else is on the card.
        step: The most that a step takes beside them.
    """

    total: int
    used: int
    step: int


class MemoryMeter(Protocol):
    """Reads a device's memory."""

    def measure(self, prepare: Callable[[], Step]) -> MemoryUse:
        """Prepare a step and run it; say what running took, and what is in use without both."""


class CudaMemory:
    """The memory of one card.

    Args:
        device: Which.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def measure(self, prepare: Callable[[], Step]) -> MemoryUse:
        """See `MemoryMeter`."""
        step = prepare()
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        step()
        torch.cuda.synchronize(self._device)
        peak = torch.cuda.max_memory_allocated(self._device) - before
        del step
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info(self._device)
        return MemoryUse(total, total - free, peak)


@dataclass(frozen=True, slots=True)
class CacheNeed:
    """What a cache is made of.

    Attributes:
        bytes_per_token: Of all layers.
        block_size: Tokens of a block.
        context_tokens: The longest request, which must fit.
    """

    bytes_per_token: int
    block_size: int
    context_tokens: int


def fitting_tokens(memory: MemoryUse, utilization: float, need: CacheNeed) -> int:
    """Tokens that fit, whole blocks, beside the spare block.

    Args:
        memory: Of the device.
        utilization: Share of its memory that may be in use.
        need: What a token takes, and how many there must be.

    Raises:
        StartupError: Not even the longest request fits.
    """
    room = int(memory.total * utilization) - memory.used - memory.step
    num_blocks = max(0, room // (need.bytes_per_token * need.block_size) - 1)
    num_tokens = num_blocks * need.block_size
    if num_tokens >= max(need.context_tokens, need.block_size):
        return num_tokens
    raise StartupError(
        f"The KV cache has room for {num_tokens} tokens and the longest request has "
        f"{need.context_tokens}: of {_gigabytes(memory.total)} on the device "
        f"{_gigabytes(memory.used)} are taken, a step takes {_gigabytes(memory.step)}, and "
        f"language.service.gpu_memory_utilization is {utilization:g}. Lower "
        "language.service.max_context_tokens, raise gpu_memory_utilization, or spread the model "
        "over more devices."
    )


def choose_kv_tokens(
    model: PreTrainedModel,
    config: LanguageServiceConfig,
    limits: EngineLimits,
    meter: MemoryMeter | None,
) -> int:
    """The capacity of a model's cache.

    Args:
        model: On its device, ready to run.
        config: Says how much, or `auto`.
        limits: Of the engine to be.
        meter: Of the device's memory; None where it is not measured.

    Raises:
        StartupError: `auto`, and not even the longest request fits.
    """
    if config.kv_tokens != "auto":
        return config.kv_tokens
    if meter is None:
        return max(CPU_KV_TOKENS, limits.max_context_tokens)
    try:
        memory = meter.measure(lambda: largest_step(model, config.kv_block_size, limits))
    except torch.OutOfMemoryError as cause:
        raise StartupError(
            f"The device has no memory for a step of {limits.max_batch_tokens} tokens beside the "
            "weights. Lower language.service.max_batch_tokens or max_sequences."
        ) from cause
    per_token = KvShape.of(model).bytes_per_token(model.dtype)
    need = CacheNeed(per_token, config.kv_block_size, limits.max_context_tokens)
    num_tokens = fitting_tokens(memory, config.gpu_memory_utilization, need)
    log.info(
        "The KV cache holds %d tokens: %s of %s are taken, a step takes %s.",
        num_tokens, _gigabytes(memory.used), _gigabytes(memory.total), _gigabytes(memory.step),
    )  # fmt: skip
    return num_tokens


def largest_step(model: PreTrainedModel, block_size: int, limits: EngineLimits) -> Step:
    """A step of as many tokens as there may be, with a token for each of as many sequences.

    It has a cache of its own, just large enough.
    """
    share, rest = divmod(limits.max_batch_tokens, limits.max_sequences)
    lengths = [share + (index < rest) for index in range(limits.max_sequences)]
    room = sum(-(-(length + 1) // block_size) * block_size for length in lengths)
    blocks = KvBlocks(room + block_size * len(lengths), block_size, keeps_prefixes=False)
    scheduler = Scheduler(limits, blocks)
    for index, length in enumerate(lengths):
        prompt = Prompt((TextSegment((0,) * length),))
        scheduler.add(Sequence(str(index), prompt, WIDEST_SAMPLING))
    runner = ModelRunner(model, KvCache.for_model(model, blocks), lambda: 0.0)
    plan = scheduler.schedule()
    return lambda: runner.run(plan)


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
