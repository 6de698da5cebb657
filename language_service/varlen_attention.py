"""Causal attention of prompts of several lengths, packed behind each other.

`VarlenAttention` is one function: queries, keys and values of all sequences and where each begins.
A sequence's queries are its last tokens; its keys go back to its first. Two do it:

    attend_each     sequence by sequence with PyTorch's own attention, on any device
    attend_flash    one call of `torch.nn.attention.varlen`, which is flash attention: CUDA, half
                    precision; its arguments have changed between releases and are looked at

`varlen_attention` chooses, by trying the second on a small case. `attend_flash` **has never run on
a card**.
"""

import inspect
import logging
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import torch

from language_service.attention_kernels import attend
from language_service.attention_step import AttentionLayer, causal_visibility, first_key
from language_service.device_rows import PackedSequences

log = logging.getLogger(__name__)

HALF_DTYPES = (torch.float16, torch.bfloat16)


# Queries [T, heads, d], keys and values [K, kv heads, d] -> [T, heads, d].
VarlenAttention = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, PackedSequences, AttentionLayer], torch.Tensor
]


def attend_each(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    sequences: PackedSequences,
    layer: AttentionLayer,
) -> torch.Tensor:
    """One sequence at a time."""
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    sinks = None if layer.sinks is None else layer.sinks[:, None]
    begin = key_begin = 0
    for end, key_end in zip(sequences.query_ends, sequences.key_ends, strict=True):
        num_past = (key_end - key_begin) - (end - begin)
        first = key_begin + first_key(num_past, layer.window)
        rows, seen, mixed = (
            each.transpose(0, 1)[None]
            for each in (query[begin:end], keys[first:key_end], values[first:key_end])
        )
        visible = causal_visibility(end - begin, num_past, layer.window, query)
        attended = attend(rows, seen, mixed, visible, layer.scaling, sinks)
        output[begin:end] = attended[0].transpose(0, 1)
        begin, key_begin = end, key_end
    return output


def flash_attention_of(varlen_attn: Callable[..., Any], aux: type) -> VarlenAttention:
    """Make a `VarlenAttention` of PyTorch's function, whichever of its forms it has.

    Args:
        varlen_attn: `torch.nn.attention.varlen.varlen_attn`.
        aux: `AuxRequest` of the same module.

    Raises:
        TypeError: It knows no window, or no scale: it is older than PyTorch 2.11.
    """
    known = inspect.signature(varlen_attn).parameters
    if not {"window_size", "scale", "return_aux"} <= set(known):
        raise TypeError("varlen_attn has no window_size, scale or return_aux.")
    shares_heads = "enable_gqa" in known

    def attend_flash(
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        sequences: PackedSequences,
        layer: AttentionLayer,
    ) -> torch.Tensor:
        options: dict[str, Any] = {"scale": layer.scaling, "window_size": (-1, 0)}
        if layer.window is not None:
            # Flash attention counts the keys before a row's own.
            options["window_size"] = (layer.window - 1, 0)
        if shares_heads:
            options["enable_gqa"] = query.shape[1] != keys.shape[1]
        else:
            group = query.shape[1] // keys.shape[1]
            keys, values = (each.repeat_interleave(group, dim=1) for each in (keys, values))
        if layer.sinks is not None:
            options["return_aux"] = aux(lse=True)
        outcome = varlen_attn(
            query, keys, values, sequences.query_offsets, sequences.key_offsets,
            sequences.max_queries, sequences.max_keys, **options,
        )  # fmt: skip
        if layer.sinks is None:
            attended: torch.Tensor = outcome
            return attended
        return with_sinks(outcome[0], outcome[1], layer.sinks)

    return attend_flash


def with_sinks(output: torch.Tensor, lse: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
    """Let sinks take their share.

    Args:
        output: [T, heads, d], attention without sinks.
        lse: [heads, T] as flash attention gives it, or [T, heads] as its documentation says.
        sinks: [heads].
    """
    num_rows, num_heads, _ = output.shape
    by_row = lse.T if lse.shape == (num_heads, num_rows) else lse
    return (output * torch.sigmoid(by_row - sinks.float())[..., None]).to(output.dtype)


@cache
def varlen_attention(
    device: torch.device, dtype: torch.dtype, group: int, head_dim: int
) -> VarlenAttention:
    """The faster of both ways that works for a shape."""
    if device.type != "cuda" or dtype not in HALF_DTYPES:
        return attend_each
    try:
        module = import_module("torch.nn.attention.varlen")
        flash = flash_attention_of(module.varlen_attn, module.AuxRequest)
        if agrees_with_each(flash, device, dtype, group, head_dim):
            return flash
    except (AttributeError, ImportError, NotImplementedError, RuntimeError, TypeError, ValueError):
        log.warning("torch.nn.attention.varlen does not work here.", exc_info=True)
    log.warning("Prompts are attended one by one, which is slower than flash attention.")
    return attend_each


def agrees_with_each(
    attention: VarlenAttention, device: torch.device, dtype: torch.dtype, group: int, head_dim: int
) -> bool:
    """Whether a way gives what `attend_each` gives, with and without a past, window and sinks."""
    source = torch.Generator().manual_seed(0)
    query_ends, key_ends = (40, 47), (40, 140)
    offsets = [torch.tensor([0, *e], dtype=torch.int32).to(device) for e in (query_ends, key_ends)]
    sequences = PackedSequences(query_ends, key_ends, *offsets)
    heads = 2 * group
    sizes = ((47, heads, head_dim), (140, 2, head_dim), (140, 2, head_dim), (heads,))
    query, keys, values, sinks = (torch.randn(s, generator=source).to(device, dtype) for s in sizes)
    cases = ((None, None), (None, sinks), (9, None), (9, sinks))
    layers = [AttentionLayer(0, head_dim**-0.5, *case) for case in cases]
    return all(
        torch.allclose(
            attention(query, keys, values, sequences, layer).float(),
            attend_each(query, keys, values, sequences, layer).float(),
            atol=3e-2,
        )
        for layer in layers
    )
