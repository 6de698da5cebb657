"""Decode steps that are captured: which are, what they compute, and what happens where none can be.

The capture of these tests runs the step again at every replay, which is what a graph does.
"""

import copy
import logging

import pytest
import torch
from transformers import PreTrainedModel

from common.device_graphs import StepCapture
from common.types import SamplingParameters
from language_service.attention import PAGED_ATTENTION
from language_service.block_tables import KvBlocks
from language_service.device_attention import PAGED_ATTENTION_DEVICE
from language_service.engine import LanguageEngine
from language_service.graphed_decode import GraphedDecode, may_capture
from language_service.kv_cache import KvCache
from language_service.model_runner import ModelRunner
from language_service.scheduler import EngineLimits
from tests.captures import RunAgain, never
from tests.language_service.harness import (
    CONFIG,
    LIMITS,
    NumberTokenizer,
    build_model,
    counting_clock,
    generate,
    greedy,
    mixed_prompts,
    run,
    submit,
    text_prompt,
)
from tests.language_service.language_models import build_language_model

pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="tests/gpu runs the kernels on the card itself"
)


@pytest.fixture(scope="module")
def device_model() -> PreTrainedModel:
    return build_model(PAGED_ATTENTION_DEVICE)


def graphed(
    model: PreTrainedModel, capture: StepCapture, limits: EngineLimits = LIMITS
) -> LanguageEngine:
    cache = KvCache.for_model(model, KvBlocks(1024))
    graphs = GraphedDecode(model, cache, limits.max_sequences, limits.max_context_tokens, capture)
    clock = counting_clock()
    runner = ModelRunner(model, cache, clock, graphs)
    engine = LanguageEngine(runner, NumberTokenizer(), limits, clock)
    engine.warm_up()
    return engine


def test_the_largest_is_captured_first_and_answers_are_those_of_transformers(
    device_model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    capture = RunAgain()
    engine = graphed(device_model, capture, EngineLimits(256, 64, max_sequences=4))
    assert capture.num_rows == [4, 2, 1]
    prompts = mixed_prompts((7, 30, 18))
    answers = [submit(engine, str(i), prompt, greedy(5)) for i, prompt in enumerate(prompts)]
    run(engine)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer.token_ids == generate(plain_model, prompt, 5)
    assert capture.replays == [4, 4, 4, 4]


def test_sequences_come_and_go_between_replays(
    device_model: PreTrainedModel, plain_model: PreTrainedModel
) -> None:
    capture = RunAgain()
    engine = graphed(device_model, capture, EngineLimits(256, 64, max_sequences=2))
    lengths = (2, 8, 3)
    prompts = [text_prompt(length * 9, length) for length in lengths]
    answers = [
        submit(engine, str(n), prompt, greedy(n))
        for n, prompt in zip(lengths, prompts, strict=True)
    ]
    run(engine)
    for number, prompt, answer in zip(lengths, prompts, answers, strict=True):
        assert answer.token_ids == generate(plain_model, prompt, number)
    assert set(capture.replays) == {1, 2}


def test_drawn_tokens_are_those_of_a_step_that_is_not_captured(
    device_model: PreTrainedModel,
) -> None:
    sampling = SamplingParameters(max_tokens=5, temperature=1.0, seed=11)
    texts = []
    for capture in (RunAgain(), never):
        engine = graphed(device_model, capture, EngineLimits(256, 64, max_sequences=2))
        answer = submit(engine, "drawn", text_prompt(20), sampling)
        run(engine)
        texts.append(answer.token_ids)
    assert texts[0] == texts[1]


def test_where_capture_fails_steps_run_as_they_would(
    device_model: PreTrainedModel, plain_model: PreTrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        engine = graphed(device_model, never)
    assert "Decode steps of 8 rows cannot be captured." in caplog.text
    prompt = text_prompt(12)
    answer = submit(engine, "a", prompt, greedy(3))
    run(engine)
    assert answer.token_ids == generate(plain_model, prompt, 3)


def test_other_attention_is_not_captured(
    model: PreTrainedModel, device_model: PreTrainedModel
) -> None:
    assert may_capture(device_model)
    assert not may_capture(model)


def test_rotary_embeddings_that_ask_for_the_longest_are_not_captured() -> None:
    config = copy.deepcopy(CONFIG)
    config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    assert not may_capture(build_model(PAGED_ATTENTION_DEVICE, config))


@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss"])
def test_experts_are_captured_only_where_they_never_ask_back(kind: str) -> None:
    device = build_language_model(kind, PAGED_ATTENTION_DEVICE)
    device.set_experts_implementation("grouped_mm")
    assert not may_capture(device)
    assert may_capture(device.to(torch.bfloat16))
    device.set_experts_implementation("batched_mm")
    assert may_capture(device.float())
    device.set_experts_implementation("eager")
    assert not may_capture(device)
    assert not may_capture(build_language_model(kind, PAGED_ATTENTION))


def test_sinks_and_windows_are_replayed_too() -> None:
    capture = RunAgain()
    device = build_language_model("gpt_oss", PAGED_ATTENTION_DEVICE)
    engine = graphed(device, capture, EngineLimits(256, 64, max_sequences=1))
    prompt = text_prompt(25)
    answer = submit(engine, "a", prompt, greedy(4))
    run(engine)
    assert answer.token_ids == generate(build_language_model("gpt_oss", "eager"), prompt, 4)
    assert capture.replays == [1, 1, 1]
