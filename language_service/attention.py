"""Attention of one packed step: every running sequence in a single row of tokens.

Registered with transformers under its own names, so that its model classes run unchanged: layers
project all tokens at once, this module stores the new keys and values and attends per sequence.
An implementation that transformers knows no mask for gets none, which is what is wanted here.

    dvd_paged             scaled_dot_product_attention; what replicas use
    dvd_paged_reference   matmul and softmax in float32, on any device; what tests compare with
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from language_service.kv_cache import KvCache
from language_service.kv_runs import KvRun

PAGED_ATTENTION = "dvd_paged"
PAGED_ATTENTION_REFERENCE = "dvd_paged_reference"


@dataclass(frozen=True, slots=True)
class AttentionSpan:
    """One sequence's tokens within a step.

    Attributes:
        begin: First row in the step.
        end: One past the last row.
        run: Where its keys and values are.
        num_past: Its tokens that are in the cache already.
        mask: [rows, num_past + rows], added to the scores; None where causality needs none:
            a single row, or rows without a past.
    """

    begin: int
    end: int
    run: KvRun
    num_past: int
    mask: torch.Tensor | None

    @property
    def length(self) -> int:
        """Keys that the last row sees."""
        return self.num_past + self.end - self.begin


@dataclass(frozen=True, slots=True)
class AttentionStep:
    """What attention must know about a step beside the tensors.

    Attributes:
        kv_cache: Keys and values.
        slots: [T] int64, where each row's key and value go.
        spans: One per sequence; together they cover all rows.
    """

    kv_cache: KvCache
    slots: torch.Tensor
    spans: tuple[AttentionSpan, ...]


# Query [n, heads, d], keys and values [length, kv heads, d], the span, the scale -> [n, heads, d].
Attend = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, AttentionSpan, float],
    torch.Tensor,
]

_current_step: ContextVar[AttentionStep] = ContextVar("attention_step")


@contextmanager
def attention_step(step: AttentionStep) -> Iterator[None]:
    """Let the attention of a forward pass in this thread work on `step`."""
    token = _current_step.set(step)
    try:
        yield
    finally:
        _current_step.reset(token)


def causal_mask(num_rows: int, num_past: int, like: torch.Tensor) -> torch.Tensor | None:
    """Additive mask of `AttentionSpan`, in the type and on the device of `like`."""
    if num_rows == 1 or num_past == 0:
        return None
    mask = torch.full((num_rows, num_past + num_rows), float("-inf"), device=like.device)
    return mask.triu_(num_past + 1).to(like.dtype)


def attend_sdpa(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    span: AttentionSpan,
    scaling: float,
) -> torch.Tensor:
    """Attention of one sequence without copies of keys or values; shapes as `Attend`."""
    num_rows, num_heads, head_dim = query.shape
    keys, values = keys.transpose(0, 1)[None], values.transpose(0, 1)[None]
    if num_rows == 1:
        # The query heads that share a key head become rows of one small matrix product.
        grouped = query.view(1, keys.shape[1], -1, head_dim)
        attended = scaled_dot_product_attention(grouped, keys, values, scale=scaling)
        return attended.reshape(1, num_heads, head_dim)
    attended = scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        keys,
        values,
        attn_mask=span.mask,
        is_causal=span.mask is None,
        scale=scaling,
        enable_gqa=True,
    )
    return attended[0].transpose(0, 1)


def attend_reference(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    span: AttentionSpan,
    scaling: float,
) -> torch.Tensor:
    """The definition, written out; makes its own mask; shapes as `Attend`."""
    num_rows, num_heads, head_dim = query.shape
    length, num_kv_heads, _ = keys.shape
    grouped = query.view(num_rows, num_kv_heads, num_heads // num_kv_heads, head_dim)
    scores = torch.einsum("nkgd,lkd->kgnl", grouped.float(), keys.float()) * scaling
    positions = torch.arange(length, device=query.device)
    future = positions[None, :] > positions[span.num_past :, None]
    weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
    attended = torch.einsum("kgnl,lkd->nkgd", weights, values.float())
    return attended.reshape(num_rows, num_heads, head_dim).to(query.dtype)


def _implementation(attend: Attend) -> Callable[..., tuple[torch.Tensor, None]]:
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
        del attention_mask, kwargs
        step, layer = _current_step.get(), cast("int", module.layer_idx)
        query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        step.kv_cache.write(layer, step.slots, key, value)
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        for span in step.spans:
            output[span.begin : span.end] = attend(
                query[span.begin : span.end],
                step.kv_cache.keys(layer, span.run, span.length),
                step.kv_cache.values(layer, span.run, span.length),
                span,
                scaling,
            )
        return output[None], None

    return forward


AttentionInterface.register(PAGED_ATTENTION, _implementation(attend_sdpa))
AttentionInterface.register(PAGED_ATTENTION_REFERENCE, _implementation(attend_reference))
