"""Both implementations against the textbook formula, over shapes and histories."""

import math

import pytest
import torch

from language_service.attention import (
    Attend,
    AttentionSpan,
    attend_reference,
    attend_sdpa,
    causal_mask,
)
from language_service.kv_runs import KvRun

HEADS = [(4, 4, 16), (6, 2, 32), (8, 1, 64), (16, 8, 128)]
# Rows of the step and tokens before them: prompts, chunks and single answers, at block borders.
SPANS = [(1, 0), (5, 0), (16, 0), (33, 0), (1, 1), (1, 15), (1, 16), (1, 40), (7, 9), (16, 17)]


def textbook(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Row by row, head by head, in float64."""
    num_rows, num_heads, head_dim = query.shape
    group = num_heads // keys.shape[1]
    output = torch.empty(query.shape, dtype=torch.float64)
    for row in range(num_rows):
        seen = keys.shape[0] - num_rows + row + 1
        for head in range(num_heads):
            visible = keys[:seen, head // group].double()
            scores = visible @ query[row, head].double() / math.sqrt(head_dim)
            output[row, head] = scores.softmax(0) @ values[:seen, head // group].double()
    return output


@pytest.mark.parametrize("attend", [attend_sdpa, attend_reference])
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("rows", SPANS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_attention_is_the_formula(
    attend: Attend,
    heads: tuple[int, int, int],
    rows: tuple[int, int],
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    (num_heads, num_kv_heads, head_dim), (num_rows, num_past) = heads, rows
    torch.manual_seed(num_rows * 100 + num_past)
    query = torch.randn(num_rows, num_heads, head_dim).to(dtype)
    keys, values = torch.randn(2, num_past + num_rows, num_kv_heads, head_dim).to(dtype)
    mask = causal_mask(num_rows, num_past, like=keys)
    span = AttentionSpan(0, num_rows, KvRun(0, 64), num_past, mask)
    attended = attend(query, keys, values, span, head_dim**-0.5)
    assert attended.dtype == dtype
    expected = textbook(query, keys, values)
    assert torch.allclose(attended.double(), expected, atol=tolerance, rtol=tolerance)


def test_mask_only_where_causality_needs_one() -> None:
    like = torch.empty(0)
    assert causal_mask(1, 5, like) is None
    assert causal_mask(5, 0, like) is None
    infinite = float("-inf")
    assert causal_mask(2, 1, like).tolist() == [[0.0, 0.0, infinite], [0.0, 0.0, 0.0]]
