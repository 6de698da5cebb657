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
    dvd_paged_device      on a GPU, see `device_attention`

An answer's row needs no causality, so answers whose runs begin at equal distances in the cache are
one batch of a strided view: no key is copied, and one call serves them all.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import nn
from transformers import AttentionInterface

from language_service.attention_kernels import Visibility, attend
from language_service.attention_op import CALLS, AttentionCall, attend_opaquely
from language_service.attention_step import (
    AnswerBatch,
    AttentionLayer,
    AttentionSpan,
    AttentionStep,
    current_step,
    first_key,
)

PAGED_ATTENTION = "dvd_paged"
PAGED_ATTENTION_REFERENCE = "dvd_paged_reference"

# Queries [T, heads, d] -> [T, heads, d]; the step's own keys and values are in the cache by then.
AttentionBackend = Callable[[torch.Tensor, AttentionLayer, AttentionStep], torch.Tensor]


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


def _call_of(backend: AttentionBackend) -> AttentionCall:
    def call(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        index: int,
        scaling: float,
        window: int | None,
        sinks: torch.Tensor | None,
    ) -> torch.Tensor:
        """Query [1, heads, T, d], key and value [1, kv heads, T, d] -> [1, T, heads, d]."""
        step = current_step.get()
        layer = AttentionLayer(index, scaling, window, sinks)
        query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        step.kv_cache.write(index, step.slots, key, value)
        return backend(query, layer, step)[None]

    return call


def _implementation(name: str) -> Callable[..., tuple[torch.Tensor, None]]:
    call = CALLS[name]

    def forward(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float,
        **kwargs: object,
    ) -> tuple[torch.Tensor, None]:
        """What transformers calls; shapes as of `_call_of`."""
        # Masks of transformers are for batches with padding; spans say all that is needed.
        del attention_mask
        index = cast("int", module.layer_idx)
        window = cast("int | None", kwargs.get("sliding_window"))
        sinks = cast("torch.Tensor | None", kwargs.get("s_aux"))
        if torch.compiler.is_compiling():
            attended = attend_opaquely(query, key, value, name, index, scaling, window, sinks)
            return cast("torch.Tensor", attended), None
        return call(query, key, value, index, scaling, window, sinks), None

    return forward


def register_attention(name: str, backend: AttentionBackend) -> None:
    """Make a back end known to transformers under a name."""
    CALLS[name] = _call_of(backend)
    AttentionInterface.register(name, _implementation(name))


register_attention(PAGED_ATTENTION, attend_packed)
register_attention(PAGED_ATTENTION_REFERENCE, attend_reference)
