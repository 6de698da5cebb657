"""Several ranks compute what one does: logits, answers, whatever the cache goes through."""

import copy
import math
from pathlib import Path

import pytest
import torch

from language_service.prompt import Prompt, TextSegment, VisualSegment
from language_service.scheduler import EngineLimits
from language_service.sharding import Rank
from tests.language_service.harness import (
    CONFIG,
    Answer,
    build_engine,
    build_model,
    generate,
    greedy,
    mixed_prompts,
    run,
    submit,
    text_prompt,
)
from tests.language_service.language_models import (
    CONFIGS,
    build_language_model,
    randomised,
    write_checkpoint,
)
from tests.language_service.ranks import ParallelEngine, RecordedHead, load_part, parallel_engine

LIMITS = EngineLimits(max_context_tokens=256, max_batch_tokens=64, max_sequences=4)
MAX_TOKENS = 16
# Of the largest logit: what float32 leaves of it, after three layers of sums in another order.
LARGEST_ERROR = 2e-6


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory, micro_dir: Path) -> dict[str, Path]:
    """A checkpoint of every kind of language model."""
    return {
        kind: write_checkpoint(
            micro_dir, build_language_model(kind, "eager"), tmp_path_factory.mktemp(kind)
        )
        for kind in CONFIGS
    }


def ask(engine: ParallelEngine, prompts: list[Prompt], max_tokens: int) -> list[Answer]:
    answers = [
        submit(engine.engine, str(index), prompt, greedy(max_tokens))
        for index, prompt in enumerate(prompts)
    ]
    run(engine.engine)
    return answers


@pytest.mark.parametrize("kind", CONFIGS)
def test_two_ranks_give_the_logits_of_one_and_the_answers_of_transformers(
    kind: str, directories: dict[str, Path]
) -> None:
    prompts = mixed_prompts()[:5]
    model = build_language_model(kind, "eager")
    expected = [generate(model, prompt, MAX_TOKENS) for prompt in prompts]
    alone = load_part(directories[kind], Rank())
    alone.lm_head = head = RecordedHead(alone.lm_head)
    engine = build_engine(alone, LIMITS)
    for index, prompt in enumerate(prompts):
        submit(engine, str(index), prompt, greedy(MAX_TOKENS))
    run(engine)
    with parallel_engine(directories[kind], LIMITS, 2) as parallel:
        answers = ask(parallel, prompts, MAX_TOKENS)
        assert [answer.token_ids for answer in answers] == expected
        assert len(parallel.head.logits) == len(head.logits)
        pairs = list(zip(parallel.head.logits, head.logits, strict=True))
    error = max((ours - theirs).abs().max() for ours, theirs in pairs if theirs.numel())
    assert error < LARGEST_ERROR * max(theirs.abs().max() for _, theirs in pairs if theirs.numel())


def test_ranks_that_share_key_heads_give_the_answers_of_transformers(
    micro_dir: Path, tmp_path: Path
) -> None:
    config = copy.deepcopy(CONFIG)
    config.num_attention_heads = 8
    model = randomised(build_model("eager", config))
    directory = write_checkpoint(micro_dir, model, tmp_path / "shared")
    prompts = mixed_prompts()[:3]
    with parallel_engine(directory, LIMITS, 4) as parallel:
        answers = ask(parallel, prompts, MAX_TOKENS)
    assert [answer.token_ids for answer in answers] == [
        generate(model, prompt, MAX_TOKENS) for prompt in prompts
    ]


def test_copies_moves_and_preemptions_are_made_on_every_rank(directories: dict[str, Path]) -> None:
    model = build_language_model("qwen3", "eager")
    common = text_prompt(50)
    prompts = [
        Prompt((*common.segments, TextSegment((index,) * (3 + 5 * index)))) for index in range(3)
    ]
    # Room for two of them and a half.
    with parallel_engine(directories["qwen3"], LIMITS, 2, num_kv_tokens=160) as parallel:
        first, again = (ask(parallel, prompts, 30) for _ in range(2))
        assert parallel.engine.num_preemptions > 0
    expected = [generate(model, prompt, 30) for prompt in prompts]
    assert [answer.token_ids for answer in first] == expected
    assert [answer.token_ids for answer in again] == expected


def test_a_value_that_is_not_finite_is_cleared_on_every_rank(directories: dict[str, Path]) -> None:
    model = build_language_model("qwen3", "eager")
    poison = Prompt((VisualSegment(torch.full((20, CONFIG.hidden_size), math.inf)),))
    sound = text_prompt(40)
    with parallel_engine(directories["qwen3"], LIMITS, 2, num_kv_tokens=256) as parallel:
        (failed,) = ask(parallel, [poison], 4)
        assert "not finite" in failed.error.message
        answers = ask(parallel, [sound] * 4, MAX_TOKENS)
    assert [answer.token_ids for answer in answers] == [generate(model, sound, MAX_TOKENS)] * 4
