"""Compiled layers give the same answers, and are compiled before the first request."""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from language_service.attention import PAGED_ATTENTION
from language_service.compiled_model import compile_layers
from language_service.scheduler import EngineLimits
from tests.language_service.harness import (
    build_engine,
    generate,
    greedy,
    mixed_prompts,
    run,
    submit,
)
from tests.language_service.language_models import build_language_model


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("kind", ["qwen3", "gpt_oss"])
def test_compiled_layers_answer_as_transformers_does(kind: str) -> None:
    torch._dynamo.reset()
    counters.clear()
    model = build_language_model(kind, PAGED_ATTENTION)
    compile_layers(model)
    engine = build_engine(model, EngineLimits(256, max_batch_tokens=48, max_sequences=8))
    engine.warm_up()
    num_graphs = counters["stats"]["unique_graphs"]
    assert num_graphs > 0
    prompts = mixed_prompts((7, 90, 33))
    answers = [submit(engine, str(i), prompt, greedy(8)) for i, prompt in enumerate(prompts)]
    run(engine)
    plain = build_language_model(kind, "eager")
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer.token_ids == generate(plain, prompt, 8)
    assert counters["stats"]["unique_graphs"] == num_graphs
    assert not counters["graph_break"]
