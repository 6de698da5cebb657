"""Attention of one packed step: every running sequence in a single row of tokens.

Registered with transformers under its own names, so that its model classes run unchanged: layers
project all tokens at once, this module stores the new keys and values and hands the rest to a
back end. An implementation that transformers knows no mask for gets none, which is what is
wanted here.

A back end is one function, `AttentionBackend`: queries of all rows, what the layer says of itself
(`AttentionLayer`: scale, sliding window, sinks) and the step (`AttentionStep`: which rows belong
to whom and where their keys are), and out come all rows. Masks depend on the step and the window
alone; `StepMasks` makes each once a step and every layer shares it.

    dvd_paged             batches of answers at equal distances, then prompts one by one, through
                          the kernels of `attention_kernels`; what replicas use
    dvd_paged_reference   matmul and softmax in float32, sequence by sequence, on any device; what
                          tests compare with

An answer's row needs no causality, so answers whose runs begin at equal distances in the cache are
one batch of a strided view: no key is copied, and one call serves them all.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import nn
from transformers import AttentionInterface

from language_service.attention_kernels import EVERY_KEY, Visibility, attend
from language_service.kv_cache import KvCache, KvPlace

PAGED_ATTENTION = "dvd_paged"
PAGED_ATTENTION_REFERENCE = "dvd_paged_reference"


@dataclass(frozen=True, slots=True)
class AttentionSpan:
    """One sequence's tokens within a step.

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
    """

    kv_cache: KvCache
    slots: torch.Tensor
    spans: tuple[AttentionSpan, ...]
    batches: tuple[AnswerBatch, ...]
    masks: StepMasks = field(compare=False)


# Queries [T, heads, d] -> [T, heads, d]; the step's own keys and values are in the cache by then.
AttentionBackend = Callable[[torch.Tensor, AttentionLayer, AttentionStep], torch.Tensor]

_current_step: ContextVar[AttentionStep] = ContextVar("attention_step")


@contextmanager
def attention_step(step: AttentionStep) -> Iterator[None]:
    """Let the attention of a forward pass in this thread work on `step`."""
    token = _current_step.set(step)
    try:
        yield
    finally:
        _current_step.reset(token)


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


def attend_packed(query: torch.Tensor, layer: AttentionLayer, step: AttentionStep) -> torch.Tensor:
    """Attention without copies of keys or values wherever a sequence lies in one run."""
    if len(step.batches) == 1 and step.batches[0].end == len(query):
        return _attend_answers(query, layer, step, step.batches[0])
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    num_answers = 0
    for batch in step.batches:
        rows = query[batch.begin : batch.end]
        output[batch.begin : batch.end] = _attend_answers(rows, layer, step, batch)
        num_answers = batch.end
    for span in step.spans[num_answers:]:
        output[span.begin : span.end] = _attend_span(query, layer, step, span)
    return output


def _attend_answers(
    query: torch.Tensor, layer: AttentionLayer, step: AttentionStep, batch: AnswerBatch
) -> torch.Tensor:
    """One row a sequence."""
    keys, values = step.kv_cache.batch(layer.index, batch.first_slot, batch.stride, batch.lengths)
    begin = first_key(min(batch.lengths) - 1, layer.window)
    visible = step.masks.of_batch(batch, layer.window)
    return _attend_rows(query, keys[:, :, begin:], values[:, :, begin:], visible, layer)


def _attend_span(
    query: torch.Tensor, layer: AttentionLayer, step: AttentionStep, span: AttentionSpan
) -> torch.Tensor:
    rows = query[span.begin : span.end]
    begin = first_key(span.num_past, layer.window)
    keys, values = (
        read(layer.index, span.place, span.length)[begin:].transpose(0, 1)[None]
        for read in (step.kv_cache.keys, step.kv_cache.values)
    )
    visible = step.masks.of_span(span, layer.window)
    if span.num_rows == 1:
        return _attend_rows(rows, keys, values, visible, layer)
    sinks = None if layer.sinks is None else layer.sinks[:, None]
    rows = rows.transpose(0, 1)[None]
    return attend(rows, keys, values, visible, layer.scaling, sinks)[0].transpose(0, 1)


def _attend_rows(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    visible: Visibility,
    layer: AttentionLayer,
) -> torch.Tensor:
    """Query [n, heads, d], keys and values [n, kv heads, length, d] -> [n, heads, d].

    The query heads that share a key head are rows of one small product.
    """
    num_kv_heads = keys.shape[1]
    grouped = query.reshape(len(query), num_kv_heads, -1, query.shape[-1])
    sinks = None if layer.sinks is None else layer.sinks.view(num_kv_heads, -1)
    return attend(grouped, keys, values, visible, layer.scaling, sinks).reshape(query.shape)


def attend_reference(
    query: torch.Tensor, layer: AttentionLayer, step: AttentionStep
) -> torch.Tensor:
    """The definition, written out, one sequence at a time; makes its own masks."""
    output = torch.empty_like(query)
    for span in step.spans:
        keys = step.kv_cache.keys(layer.index, span.place, span.length)
        values = step.kv_cache.values(layer.index, span.place, span.length)
        rows = query[span.begin : span.end]
        output[span.begin : span.end] = _textbook(rows, keys, values, layer)
    return output


def _textbook(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layer: AttentionLayer
) -> torch.Tensor:
    """Query [n, heads, d], the last n of the length; keys and values [length, kv heads, d]."""
    num_rows, num_heads, head_dim = query.shape
    length, num_kv_heads, _ = keys.shape
    grouped = query.reshape(num_rows, num_kv_heads, num_heads // num_kv_heads, head_dim)
    scores = torch.einsum("nkgd,lkd->kgnl", grouped.float(), keys.float()) * layer.scaling
    ages = torch.arange(length - num_rows, length, device=query.device)[:, None]
    ages = ages - torch.arange(length, device=query.device)
    hidden = (ages < 0) if layer.window is None else (ages < 0) | (ages >= layer.window)
    scores = scores.masked_fill(hidden, float("-inf"))
    if layer.sinks is not None:
        sinks = layer.sinks.float().view(*scores.shape[:2], 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = scores.softmax(dim=-1)[..., :length]
    attended = torch.einsum("kgnl,lkd->nkgd", weights, values.float())
    return attended.reshape(num_rows, num_heads, head_dim).to(query.dtype)


def _implementation(backend: AttentionBackend) -> Callable[..., tuple[torch.Tensor, None]]:
    def forward(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float,
        **kwargs: object,
    ) -> tuple[torch.Tensor, None]:
        """Query [1, heads, T, d], key and value [1, kv heads, T, d] -> [1, T, heads, d]."""
        # Masks of transformers are for batches with padding; spans say all that is needed.
        del attention_mask
        step = _current_step.get()
        layer = AttentionLayer(
            cast("int", module.layer_idx),
            scaling,
            cast("int | None", kwargs.get("sliding_window")),
            cast("torch.Tensor | None", kwargs.get("s_aux")),
        )
        query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        step.kv_cache.write(layer.index, step.slots, key, value)
        return backend(query, layer, step)[None], None

    return forward


AttentionInterface.register(PAGED_ATTENTION, _implementation(attend_packed))
AttentionInterface.register(PAGED_ATTENTION_REFERENCE, _implementation(attend_reference))
