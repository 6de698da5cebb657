"""Every back end against the textbook formula, over shapes, histories, windows and sinks."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from language_service.attention import AttentionBackend, attend_packed, attend_reference
from language_service.attention_kernels import (
    EVERY_KEY,
    FUSED_KERNEL_RETURNS_LSE,
    Visibility,
    attend_with_lse,
    attend_with_lse_fused,
)
from language_service.attention_step import (
    AnswerBatch,
    AttentionLayer,
    AttentionSpan,
    AttentionStep,
    StepMasks,
    causal_visibility,
    padding_mask,
)
from language_service.block_tables import KvBlocks
from language_service.kv_cache import KvCache, KvPlace, KvShape

CPU = torch.device("cpu")
HEADS = [(4, 4, 16), (6, 2, 64), (8, 1, 64), (16, 8, 128)]
BACKENDS = [attend_packed, attend_reference]
# Rows of the step and tokens before them, at block borders; answers first, as in a step.
STEPS: dict[str, list[tuple[int, int]]] = {
    "one prompt": [(33, 0)],
    "prompts": [(5, 0), (16, 0), (1, 0)],
    "chunks": [(7, 9), (16, 17), (2, 62)],
    "one answer": [(1, 40)],
    "equal answers": [(1, 31)] * 3,
    "unequal answers": [(1, 15), (1, 16), (1, 47), (1, 0)],
    "answers and chunks": [(1, 30), (1, 5), (20, 12), (9, 0)],
}
CAPACITY = 64


@dataclass
class Case:
    """A step over random keys and values, and the room that each sequence has."""

    step: AttentionStep
    query: torch.Tensor


def make(
    heads: tuple[int, int, int],
    rows: list[tuple[int, int]],
    dtype: torch.dtype = torch.float32,
    is_scattered: bool = False,
) -> Case:
    num_heads, num_kv_heads, head_dim = heads
    generator = torch.Generator().manual_seed(len(rows))
    blocks = KvBlocks(CAPACITY * len(rows))
    cache = KvCache(KvShape(1, num_kv_heads, head_dim), blocks, dtype, CPU)
    num_tokens = blocks.num_tokens
    size = (num_tokens, num_kv_heads, head_dim)
    cache.write(
        0,
        torch.arange(num_tokens),
        torch.randn(size, generator=generator).to(dtype),
        torch.randn(size, generator=generator).to(dtype),
    )
    spans, begin = [], 0
    for index, (num_rows, num_past) in enumerate(rows):
        place = KvPlace(index * CAPACITY)
        if is_scattered:
            order = torch.randperm(num_tokens, generator=generator)
            place = KvPlace(-1, order[: num_past + num_rows])
        spans.append(AttentionSpan(begin, begin + num_rows, place, num_past))
        begin += num_rows
    answers = [span.length for span in spans if span.num_rows == 1 and not is_scattered]
    whole = AnswerBatch(0, 0, CAPACITY if len(answers) > 1 else 0, tuple(answers))
    batches = (whole,) if answers and rows[0][0] == 1 else ()
    query = torch.randn(begin, num_heads, head_dim, generator=generator).to(dtype)
    masks = StepMasks(query)
    return Case(AttentionStep(cache, torch.empty(0), tuple(spans), batches, masks), query)


def textbook(case: Case, layer: AttentionLayer) -> torch.Tensor:
    """Row by row, head by head, in float64."""
    query = case.query
    output = torch.empty(query.shape, dtype=torch.float64)
    for span in case.step.spans:
        keys = case.step.kv_cache.keys(0, span.place, span.length).double()
        values = case.step.kv_cache.values(0, span.place, span.length).double()
        group = query.shape[1] // keys.shape[1]
        for row in range(span.begin, span.end):
            end = span.num_past + row - span.begin + 1
            begin = 0 if layer.window is None else max(0, end - layer.window)
            for head in range(query.shape[1]):
                scores = keys[begin:end, head // group] @ query[row, head].double()
                weights = (scores * layer.scaling).exp()
                sink = 0.0 if layer.sinks is None else math.exp(layer.sinks[head])
                weights = weights / (weights.sum() + sink)
                output[row, head] = weights @ values[begin:end, head // group]
    return output


def layer_of(heads: tuple[int, int, int], window: int | None, has_sinks: bool) -> AttentionLayer:
    generator = torch.Generator().manual_seed(7)
    sinks = torch.randn(heads[0], generator=generator) * 2 if has_sinks else None
    return AttentionLayer(0, heads[2] ** -0.5, window, sinks)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("window", [None, 1, 16, 20, 500])
@pytest.mark.parametrize("has_sinks", [False, True])
def test_attention_is_the_formula(
    backend: AttentionBackend,
    heads: tuple[int, int, int],
    name: str,
    window: int | None,
    has_sinks: bool,
) -> None:
    case, layer = make(heads, STEPS[name]), layer_of(heads, window, has_sinks)
    attended = backend(case.query, layer, case.step)
    assert torch.allclose(attended.double(), textbook(case, layer), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize("name", STEPS)
def test_scattered_keys_are_gathered(
    backend: AttentionBackend, window: int | None, name: str
) -> None:
    heads = (6, 2, 64)
    case, layer = make(heads, STEPS[name], is_scattered=True), layer_of(heads, window, True)
    attended = backend(case.query, layer, case.step)
    assert torch.allclose(attended.double(), textbook(case, layer), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("has_sinks", [False, True])
def test_bfloat16_comes_near_the_formula(backend: AttentionBackend, has_sinks: bool) -> None:
    heads = (8, 1, 64)
    case = make(heads, STEPS["answers and chunks"], torch.bfloat16)
    layer = layer_of(heads, 20, has_sinks)
    attended = backend(case.query, layer, case.step)
    assert attended.dtype == torch.bfloat16
    assert torch.allclose(attended.double(), textbook(case, layer), atol=3e-2, rtol=3e-2)


WithLse = Callable[..., tuple[torch.Tensor, torch.Tensor]]


@pytest.mark.parametrize(
    "visible",
    [EVERY_KEY, Visibility(is_causal=True), Visibility(torch.tensor([0.0, 0.0, -math.inf]))],
)
def test_both_ways_to_the_denominator_agree(visible: Visibility) -> None:
    assert FUSED_KERNEL_RETURNS_LSE
    query = torch.randn(2, 6, 3, 64)
    keys, values = torch.randn(2, 2, 2, 3, 64)
    mask = None if visible.mask is None else visible.mask.expand(3, 3)
    seen = Visibility(mask, visible.is_causal)
    fused = attend_with_lse_fused(query, keys, values, seen, 0.125)
    formula = attend_with_lse(query, keys, values, seen, 0.125)
    assert torch.allclose(fused[0], formula[0], atol=1e-5)
    assert torch.allclose(fused[1], formula[1], atol=1e-5)


INFINITE = float("-inf")
LIKE = torch.empty(0)


def test_masks_only_where_they_are_needed() -> None:
    assert causal_visibility(1, 5, None, LIKE) == EVERY_KEY
    assert causal_visibility(1, 50, 16, LIKE) == EVERY_KEY
    assert causal_visibility(5, 0, None, LIKE) == Visibility(is_causal=True)
    assert causal_visibility(5, 0, 5, LIKE) == Visibility(is_causal=True)
    assert padding_mask((7, 7), 3, LIKE) is None


def test_masks_begin_at_the_first_key_that_anyone_sees() -> None:
    mask = causal_visibility(2, 3, 2, LIKE).mask
    assert mask is not None
    assert mask.tolist() == [[0.0, 0.0, INFINITE], [INFINITE, 0.0, 0.0]]
    padding = padding_mask((4, 5), 2, LIKE)
    assert padding is not None
    assert padding[:, 0, 0].tolist() == [[0.0, 0.0, INFINITE], [INFINITE, 0.0, 0.0]]


def test_layers_of_a_step_share_masks() -> None:
    case = make((6, 2, 64), STEPS["answers and chunks"])
    span, batch = case.step.spans[2], case.step.batches[0]
    masks = case.step.masks
    assert masks.of_span(span, 16) is masks.of_span(span, 16)
    assert masks.of_span(span, 16) is not masks.of_span(span, None)
    assert masks.of_batch(batch, None) is masks.of_batch(batch, None)
    assert masks.of_batch(batch, 16) is not masks.of_batch(batch, None)
