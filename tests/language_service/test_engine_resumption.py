"""An answer that goes on after delivered tokens is the answer that was cut off, at every place."""

from dataclasses import dataclass, replace

import pytest
import torch
from transformers import PreTrainedModel

from common.types import AnswerSoFar, SamplingParameters
from language_service.engine import LanguageEngine
from language_service.generation import GenerationRequest, TokensGenerated
from language_service.prompt import ImageSegment, Prompt, TextSegment, VisualSegment
from language_service.resumption import resume
from language_service.token_keys import picture_identity
from tests.language_service.harness import (
    HIDDEN_SIZE,
    Answer,
    NumberTokenizer,
    build_engine,
    run,
    submit,
    text_prompt,
)

MAX_TOKENS = 64
PICTURE = VisualSegment(
    torch.randn(40, HIDDEN_SIZE, generator=torch.Generator().manual_seed(3)),
    picture_identity(b"p", (40,)),
)
TEXT = TextSegment(tuple(range(1, 20)))
SAMPLINGS = {
    "greedy": SamplingParameters(MAX_TOKENS, 0.0, seed=0),
    "seeded": SamplingParameters(MAX_TOKENS, 0.9, seed=5, top_p=0.95),
    "penalised": SamplingParameters(
        MAX_TOKENS, 0.0, seed=0, repetition_penalty=1.3, presence_penalty=0.5,
        frequency_penalty=0.5,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """What one event tells."""

    token_ids: tuple[int, ...]
    text: str


def pieces(answer: Answer) -> list[Piece]:
    """All that was given out, in order; the text of the end without tokens."""
    told = [Piece(e.token_ids, e.text) for e in answer.events if isinstance(e, TokensGenerated)]
    return [*told, Piece((), answer.finished.text)]


def go_on(
    engine: LanguageEngine, prompt: Prompt, sampling: SamplingParameters, token_ids: list[int]
) -> Answer:
    """Submit an answer that has begun with these tokens."""
    answer = Answer()
    so_far = AnswerSoFar(tuple(token_ids))
    (resumed,) = resume([so_far], sampling, NumberTokenizer().detokenizer)
    if resumed.end is not None:
        answer.events.append(resumed.end)
        return answer
    engine.submit(
        GenerationRequest(
            f"after {len(token_ids)}", prompt, sampling, answer.events.append,
            delivered_ids=resumed.token_ids, text=resumed.text,
        )
    )  # fmt: skip
    return answer


def undisturbed(model: PreTrainedModel, prompt: Prompt, sampling: SamplingParameters) -> Answer:
    engine = build_engine(model)
    answer = submit(engine, "whole", prompt, sampling)
    run(engine)
    return answer


@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("keeps_prefixes", [True, False])
def test_cut_at_every_token_the_rest_is_the_same(
    model: PreTrainedModel, name: str, keeps_prefixes: bool
) -> None:
    """Failure mode 3 at the engine: nothing twice, nothing missing, same end, same counts."""
    prompt, sampling = text_prompt(50), SAMPLINGS[name]
    whole = undisturbed(model, prompt, sampling)
    engine = build_engine(model, keeps_prefixes=keeps_prefixes)
    cuts = range(MAX_TOKENS + 1)
    rests = [go_on(engine, prompt, sampling, whole.token_ids[:cut]) for cut in cuts]
    run(engine)
    for cut, rest in zip(cuts, rests, strict=True):
        assert pieces(rest) == pieces(whole)[cut:]
        assert rest.finished.num_completion_tokens == MAX_TOKENS
        assert rest.finished.end == whole.finished.end
        assert rest.finished.num_cached_tokens <= 50


def test_cut_inside_a_stop_text_the_rest_is_the_same(model: PreTrainedModel) -> None:
    """Text that was held back is neither lost nor given out twice."""
    plain = undisturbed(model, text_prompt(50), SAMPLINGS["seeded"])
    words = plain.text.split()
    stop = f"{words[30][-1]} {words[31]} {words[32]} {words[33][0]}"
    sampling = replace(SAMPLINGS["seeded"], stop_strings=(stop, f"{words[20]} nothing"))
    whole = undisturbed(model, text_prompt(50), sampling)
    assert whole.finished.stop is not None
    engine = build_engine(model)
    cuts = range(len(whole.token_ids) + 1)
    rests = [go_on(engine, text_prompt(50), sampling, whole.token_ids[:cut]) for cut in cuts]
    run(engine)
    for cut, rest in zip(cuts, rests, strict=True):
        assert pieces(rest) == pieces(whole)[cut:]
        assert rest.finished.end == whole.finished.end


def test_the_end_token_ends_it_again(model: PreTrainedModel) -> None:
    """Only the end was lost: the model says it once more and nothing else."""
    plain = undisturbed(model, text_prompt(50), SAMPLINGS["seeded"])
    end_token = plain.token_ids[40]
    engine = build_engine(model, eos_token_ids=frozenset({end_token}))
    before = plain.token_ids[: plain.token_ids.index(end_token)]
    rest = go_on(engine, text_prompt(50), SAMPLINGS["seeded"], before)
    run(engine)
    assert pieces(rest) == [Piece((), "")]
    assert rest.finished.num_completion_tokens == len(before)


@pytest.mark.parametrize("cut", [0, 1, 30, 63])
def test_delivered_tokens_wait_for_the_pictures_before_them(
    model: PreTrainedModel, cut: int
) -> None:
    whole = undisturbed(model, Prompt((TEXT, PICTURE, TEXT)), SAMPLINGS["seeded"])
    engine = build_engine(model)
    places = Prompt((TEXT, ImageSegment(0), TEXT))
    rest = go_on(engine, places, SAMPLINGS["seeded"], whole.token_ids[:cut])
    while engine.step():
        pass
    assert rest.events == []
    engine.supply(f"after {cut}", 0, PICTURE)
    run(engine)
    assert pieces(rest) == pieces(whole)[cut:]


def test_log_probabilities_go_on(model: PreTrainedModel) -> None:
    sampling = replace(SAMPLINGS["greedy"], num_logprobs=3)
    whole = undisturbed(model, text_prompt(50), sampling)
    engine = build_engine(model)
    rest = go_on(engine, text_prompt(50), sampling, whole.token_ids[:20])
    run(engine)
    told = [e.logprobs[0] for e in rest.events if isinstance(e, TokensGenerated)]
    expected = [e.logprobs[0] for e in whole.events if isinstance(e, TokensGenerated)][20:]
    assert [each.chosen.token_id for each in told] == [each.chosen.token_id for each in expected]
    for ours, theirs in zip(told, expected, strict=True):
        assert ours.chosen.logprob == pytest.approx(theirs.chosen.logprob, abs=1e-4)


def test_it_gives_way_and_comes_back_like_any_other(model: PreTrainedModel) -> None:
    """Preemption computes delivered and own tokens again."""
    whole = undisturbed(model, text_prompt(100), SAMPLINGS["greedy"])
    engine = build_engine(model, num_kv_tokens=256, keeps_prefixes=False)
    first = submit(engine, "first", text_prompt(100, first=7), SAMPLINGS["greedy"])
    rest = go_on(engine, text_prompt(100), SAMPLINGS["greedy"], whole.token_ids[:10])
    run(engine)
    assert engine.num_preemptions > 0
    assert pieces(rest) == pieces(whole)[10:]
    assert len(first.token_ids) == MAX_TOKENS
