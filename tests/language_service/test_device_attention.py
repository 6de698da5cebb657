"""Attention as a GPU does it, on a CPU: layout, decode kernel, packed prompts; and the engine."""

import copy
import itertools

import pytest
import torch
from transformers import PreTrainedModel

from language_service.attention import PAGED_ATTENTION_REFERENCE, attend_reference
from language_service.attention_step import AttentionLayer, AttentionSpan, AttentionStep, StepMasks
from language_service.block_tables import KvBlocks
from language_service.device_attention import PAGED_ATTENTION_DEVICE, attend_on_device
from language_service.device_layout import device_layout, has_decode_kernel
from language_service.device_rows import RowsLayout, SequenceRows
from language_service.graphed_decode import GraphedDecode
from language_service.kv_cache import KvCache, KvPlace, KvShape
from tests.captures import RunAgain
from tests.language_service.harness import (
    CONFIG,
    build_engine,
    build_model,
    generate,
    greedy,
    mixed_prompts,
    run,
    submit,
)

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="tests/gpu runs the kernels on the card itself"
)
# Rows of the step and tokens before them; answers first, as in a step.
STEPS: dict[str, list[tuple[int, int]]] = {
    "one answer": [(1, 40)],
    "answers": [(1, 15), (1, 16), (1, 0), (1, 62)],
    "one prompt": [(33, 0)],
    "one chunk": [(20, 12)],
    "chunks": [(7, 9), (16, 17), (2, 62)],
    "answers and chunks": [(1, 30), (1, 5), (20, 12), (9, 0), (1, 7)],
}
CAPACITY = 64


def laid_out(rows: list[tuple[int, int]], is_scattered: bool = False) -> AttentionStep:
    """A step over random keys; the last sequence's blocks lie anywhere, if that is wanted."""
    generator = torch.Generator().manual_seed(len(rows))
    blocks = KvBlocks(CAPACITY * len(rows))
    cache = KvCache(KvShape(1, 2, 64), blocks, torch.float32, torch.device("cpu"))
    keys, values = torch.randn(2, blocks.num_tokens, 2, 64, generator=generator)
    cache.write(0, torch.arange(blocks.num_tokens), keys, values)
    spans, begin = [], 0
    for index, (num_rows, num_past) in enumerate(rows):
        spans.append(AttentionSpan(begin, begin + num_rows, KvPlace(index * CAPACITY), num_past))
        begin += num_rows
    if is_scattered:
        order = torch.randperm(blocks.num_tokens, generator=generator)
        spans[-1] = spans[-1]._replace(place=KvPlace(-1, order[: spans[-1].length]))
    runs = itertools.takewhile(lambda s: s.num_rows == 1 and s.place.slots is None, spans)
    sequences = [SequenceRows(each.num_rows, each.length, each.place) for each in spans]
    layout = RowsLayout(sequences, len(list(runs)), 16)
    device = layout.rows(torch.tensor(layout.numbers))
    return AttentionStep(cache, torch.empty(0), tuple(spans), (), StepMasks(keys), device)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("is_scattered", [False, True])
def test_every_row_is_attended_as_the_definition_says(
    name: str, window: int | None, is_scattered: bool
) -> None:
    step = laid_out(STEPS[name], is_scattered)
    generator = torch.Generator().manual_seed(9)
    query = torch.randn(step.spans[-1].end, 6, 64, generator=generator)
    layer = AttentionLayer(0, 0.125, window, torch.randn(6, generator=generator))
    attended = attend_on_device(query, layer, step)
    torch.testing.assert_close(attended, attend_reference(query, layer, step), atol=2e-6, rtol=1e-5)


def test_a_step_that_was_not_laid_out_is_an_error() -> None:
    step = laid_out([(1, 3)])
    bare = AttentionStep(step.kv_cache, step.slots, step.spans, (), step.masks)
    with pytest.raises(AssertionError, match="laid out"):
        attend_on_device(torch.zeros(1, 6, 64), AttentionLayer(0, 1.0), bare)


def test_tables_are_as_wide_as_the_kernel_was_compiled_for() -> None:
    answers = laid_out(STEPS["answers"]).device.answers  # type: ignore[union-attr]
    assert answers is not None
    assert answers.block_tables.shape == (4, 16)
    assert answers.block_tables[1, :4].tolist() == [4, 5, 6, 7]
    assert answers.lengths.tolist() == [16, 17, 1, 63]


def test_only_attention_on_a_device_needs_a_layout(model: PreTrainedModel) -> None:
    cache = KvCache.for_model(model, KvBlocks(64))
    assert device_layout(model, cache) is None
    assert device_layout(build_model(PAGED_ATTENTION_REFERENCE), cache) is None
    layout = device_layout(build_model(PAGED_ATTENTION_DEVICE), cache)
    assert layout is not None
    spans = [AttentionSpan(0, 1, KvPlace(16), 4), AttentionSpan(1, 4, KvPlace(32), 0)]
    assert layout(spans, 1).numbers == [5, 1, 0, 3, 0, 3]


def test_the_engine_answers_as_transformers_does(plain_model: PreTrainedModel) -> None:
    model = build_model(PAGED_ATTENTION_DEVICE)
    assert has_decode_kernel(model, KvCache.for_model(model, KvBlocks(64)))
    engine = build_engine(model)
    prompts = mixed_prompts((7, 90, 18))
    answers = [submit(engine, str(i), prompt, greedy(6)) for i, prompt in enumerate(prompts)]
    run(engine)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer.token_ids == generate(plain_model, prompt, 6)


def test_without_a_decode_kernel_an_answer_is_a_prompt_of_one_row() -> None:
    """Heads of a width that the kernel does not take; there are no graphs then, either."""
    config = copy.deepcopy(CONFIG)
    config.head_dim = 24
    model = build_model(PAGED_ATTENTION_DEVICE, config)
    cache = KvCache.for_model(model, KvBlocks(64))
    assert not has_decode_kernel(model, cache)
    graphs = GraphedDecode(model, cache, 4, 64, RunAgain())
    graphs.prepare()
    assert graphs.sizes == ()
    assert graphs.run([]) is None
    engine, prompts = build_engine(model), mixed_prompts((18, 33))
    answers = [submit(engine, str(i), prompt, greedy(4)) for i, prompt in enumerate(prompts)]
    run(engine)
    plain = build_model("eager", config)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer.token_ids == generate(plain, prompt, 4)
