"""Packed prompts: sequence by sequence, and what PyTorch's packed attention is asked for."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch

from language_service.device_rows import PackedSequences
from language_service.varlen_attention import (
    agrees_with_each,
    attend_each,
    flash_attention_of,
    varlen_attention,
    with_sinks,
)

CPU = torch.device("cpu")


class AuxRequest(NamedTuple):
    """As in `torch.nn.attention.varlen`."""

    lse: bool = False


Outcome = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


def by_definition(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    scale: float,
    window_size: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """What flash attention computes: `window_size` counts keys before and after a row's own."""
    group = query.shape[1] // key.shape[1]
    output, lse = torch.empty_like(query), torch.empty(query.shape[1], len(query))
    for index in range(len(cu_seq_q) - 1):
        begin, end = cu_seq_q[index], cu_seq_q[index + 1]
        keys, values = (
            each[cu_seq_k[index] : cu_seq_k[index + 1]].repeat_interleave(group, dim=1)
            for each in (key, value)
        )
        places = torch.arange(end - begin) + len(keys) - (end - begin)
        ages = places[:, None] - torch.arange(len(keys))
        hidden = ages < -window_size[1]
        if window_size[0] >= 0:
            hidden |= ages > window_size[0]
        scores = torch.einsum("nhd,lhd->hnl", query[begin:end], keys) * scale
        scores = scores.masked_fill(hidden, float("-inf"))
        lse[:, begin:end] = scores.logsumexp(dim=-1)
        output[begin:end] = torch.einsum("hnl,lhd->nhd", scores.softmax(dim=-1), values)
    return output, lse


def varlen_of_2_11(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: AuxRequest | None = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> Outcome:
    assert query.shape[1] == key.shape[1]
    assert (max_q, max_k) == tuple(int(each.diff().max()) for each in (cu_seq_q, cu_seq_k))
    assert scale is not None
    output, lse = by_definition(query, key, value, cu_seq_q, cu_seq_k, scale, window_size)
    return (output, lse) if return_aux and return_aux.lse else output


def varlen_of_2_12(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: AuxRequest | None = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Outcome:
    assert enable_gqa == (query.shape[1] != key.shape[1])
    group = query.shape[1] // key.shape[1]
    return varlen_of_2_11(
        query, key.repeat_interleave(group, 1), value.repeat_interleave(group, 1),
        cu_seq_q, cu_seq_k, max_q, max_k,
        return_aux=return_aux, scale=scale, window_size=window_size,
    )  # fmt: skip


@pytest.mark.parametrize("varlen_attn", [varlen_of_2_11, varlen_of_2_12])
def test_every_form_of_the_packed_call_is_used_rightly(varlen_attn: Callable[..., Outcome]) -> None:
    flash = flash_attention_of(varlen_attn, AuxRequest)
    assert agrees_with_each(flash, CPU, torch.float32, 3, 16)


def test_a_form_that_means_something_else_is_found_out() -> None:
    @functools.wraps(varlen_of_2_11)
    def windows_off_by_one(*tensors: Any, window_size: tuple[int, int], **options: Any) -> Outcome:
        left = window_size[0] + (window_size[0] >= 0)
        return varlen_of_2_11(*tensors, window_size=(left, 0), **options)

    flash = flash_attention_of(windows_off_by_one, AuxRequest)
    assert not agrees_with_each(flash, CPU, torch.float32, 3, 16)


def test_a_form_without_windows_is_refused() -> None:
    def old(query: torch.Tensor, is_causal: bool, return_aux: AuxRequest) -> Outcome:
        raise AssertionError(query, is_causal, return_aux)

    with pytest.raises(TypeError, match="window_size"):
        flash_attention_of(old, AuxRequest)


def test_elsewhere_sequences_are_attended_one_by_one() -> None:
    assert varlen_attention(CPU, torch.bfloat16, 4, 128) is attend_each
    assert varlen_attention(torch.device("cuda"), torch.float32, 4, 128) is attend_each


@pytest.mark.parametrize("is_by_row", [False, True])
def test_denominators_come_by_head_or_by_row(is_by_row: bool) -> None:
    output, lse, sinks = torch.randn(5, 3, 16), torch.randn(5, 3), torch.randn(3)
    wanted = output * torch.sigmoid(lse - sinks)[..., None]
    torch.testing.assert_close(with_sinks(output, lse if is_by_row else lse.T, sinks), wanted)


def test_the_longest_are_known() -> None:
    sequences = PackedSequences((3, 10, 11), (20, 27, 60), torch.empty(0), torch.empty(0))
    assert (sequences.max_queries, sequences.max_keys) == (7, 33)
