"""What attention must know about a step beside the tensors: whose rows, which keys, what they see.

Masks depend on the step and the window alone; `StepMasks` works each out once a step and every
layer shares it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from language_service.attention_kernels import EVERY_KEY, Visibility
from language_service.device_rows import DeviceRows
from language_service.kv_cache import KvCache, KvPlace


class AttentionSpan(NamedTuple):
    """One sequence's tokens within a step; a tuple, because every step makes many.

    Attributes:
        begin: First row in the step.
        end: One past the last row.
        place: Where its keys and values are.
        num_past: Its tokens that are in the cache already.
    """

    begin: int
    end: int
    place: KvPlace
    num_past: int

    @property
    def num_rows(self) -> int:
        """Rows of the step."""
        return self.end - self.begin

    @property
    def length(self) -> int:
        """Keys that the last row sees."""
        return self.num_past + self.end - self.begin


@dataclass(frozen=True, slots=True)
class AnswerBatch:
    """Consecutive spans of one row each whose runs begin at equal distances.

    Attributes:
        begin: First row in the step.
        first_slot: Where the first sequence begins in the cache.
        stride: Slots from the begin of one sequence to that of the next.
        lengths: Keys that each row sees; none is longer than the stride.
    """

    begin: int
    first_slot: int
    stride: int
    lengths: tuple[int, ...]

    @property
    def end(self) -> int:
        """One past the last row."""
        return self.begin + len(self.lengths)


@dataclass(frozen=True, slots=True)
class AttentionLayer:
    """What one layer says of itself.

    Attributes:
        index: Its place in the cache.
        scaling: Factor of the scores.
        window: Keys that a row sees, its own and those right before it; None for all.
        sinks: [heads], logits without a value in each head's softmax; None for none.
    """

    index: int
    scaling: float
    window: int | None = None
    sinks: torch.Tensor | None = None


class StepMasks:
    """Additive masks of one step, made when first asked for.

    Args:
        like: Gives their element type and device.
    """

    def __init__(self, like: torch.Tensor) -> None:
        self._like = like
        self._made: dict[tuple[AttentionSpan | AnswerBatch, int | None], Visibility] = {}

    def of_span(self, span: AttentionSpan, window: int | None) -> Visibility:
        """What the rows of a span see of the keys from `first_key` on."""
        if (span, window) not in self._made:
            visible = causal_visibility(span.num_rows, span.num_past, window, self._like)
            self._made[span, window] = visible
        return self._made[span, window]

    def of_batch(self, batch: AnswerBatch, window: int | None) -> Visibility:
        """What each answer sees of the keys from the shortest one's `first_key` on."""
        if (batch, window) not in self._made:
            mask = padding_mask(batch.lengths, window, self._like)
            self._made[batch, window] = Visibility(mask)
        return self._made[batch, window]


@dataclass(frozen=True, slots=True)
class AttentionStep:
    """What attention must know about a step beside the tensors.

    Attributes:
        kv_cache: Keys and values.
        slots: [T] int64, where each row's key and value go.
        spans: One per sequence, in the order of their rows; together they cover all rows.
        batches: Cover the first rows, those of answers, once more; what a back end may use.
        masks: Shared by all layers.
        device: The same rows for attention on a GPU; None elsewhere.
    """

    kv_cache: KvCache
    slots: torch.Tensor
    spans: tuple[AttentionSpan, ...]
    batches: tuple[AnswerBatch, ...]
    masks: StepMasks = field(compare=False)
    device: DeviceRows | None = None


current_step: ContextVar[AttentionStep] = ContextVar("attention_step")


@contextmanager
def attention_step(step: AttentionStep) -> Iterator[None]:
    """Let the attention of a forward pass in this thread work on `step`."""
    token = current_step.set(step)
    try:
        yield
    finally:
        current_step.reset(token)


def first_key(position: int, window: int | None) -> int:
    """First key that the row at a position sees."""
    return 0 if window is None else max(0, position + 1 - window)


def causal_visibility(
    num_rows: int, num_past: int, window: int | None, like: torch.Tensor
) -> Visibility:
    """What rows that follow `num_past` tokens see of the keys from the first row's first on.

    A mask, where one is needed, is [rows, keys] in the type and on the device of `like`.
    """
    length = num_past + num_rows
    if num_rows == 1:
        return EVERY_KEY
    if num_past == 0 and first_key(length - 1, window) == 0:
        return Visibility(is_causal=True)
    rows = torch.arange(num_past, length, device=like.device)[:, None]
    keys = torch.arange(first_key(num_past, window), length, device=like.device)
    hidden = keys > rows
    if window is not None:
        hidden |= keys <= rows - window
    mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
    return Visibility(mask.masked_fill_(hidden, float("-inf")))


def padding_mask(
    lengths: tuple[int, ...], window: int | None, like: torch.Tensor
) -> torch.Tensor | None:
    """Additive mask [n, 1, 1, keys] over what one row of each of n sequences does not see.

    Keys go from the first that the shortest one sees to the end of the longest.
    """
    longest = max(lengths)
    if min(lengths) == longest:
        return None
    begin = first_key(min(lengths) - 1, window)
    keys = torch.arange(begin, longest, device=like.device)
    ends = torch.tensor(lengths, device=like.device)[:, None, None, None]
    hidden = keys >= ends
    if window is not None:
        hidden |= keys < ends - window
    mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
    return mask.masked_fill_(hidden, float("-inf"))
