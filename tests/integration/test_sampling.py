"""Every sampling choice through a whole cluster: taken, applied, and refused out of bounds."""

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch

from common.errors import InvalidRequestError
from common.types import ResolutionScope
from deploy.client import Answer
from language_service.choices import choice_seed
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.idle import wait_until_idle
from tests.integration.requests import wire_request
from tests.local_cluster import LocalCluster, local_cluster
from tests.reference import plain_reference
from tests.reference.conversation import user
from tests.reference.prompt import prompt_ids

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_TOKENS = 24
QUESTION = (user("Tell me about the sea."),)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(plain_model_dir: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(plain_model_dir) as running:
        yield running


def asking(**sampling: Any) -> inference_pb2.GenerateRequest:
    """The question, greedy where nothing else is said."""
    request = wire_request(QUESTION, MAX_TOKENS)
    chosen = {"max_tokens": MAX_TOKENS, "temperature": 0.0, **sampling}
    request.sampling.CopyFrom(inference_pb2.SamplingParameters(**chosen))
    return request


async def ask(cluster: LocalCluster, **sampling: Any) -> Answer:
    return await cluster.client.answer(asking(**sampling))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def greedy(cluster: LocalCluster) -> Answer:
    answer = await ask(cluster)
    assert len(set(answer.token_ids)) > 8
    return answer


@pytest.mark.parametrize("filters", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
async def test_a_filter_that_leaves_one_token_is_greedy(
    cluster: LocalCluster, greedy: Answer, filters: dict[str, float]
) -> None:
    drawn = await ask(cluster, temperature=2.0, seed=1)
    filtered = await ask(cluster, temperature=2.0, seed=1, **filters)
    assert drawn.token_ids != greedy.token_ids
    assert filtered.token_ids == greedy.token_ids


async def test_a_seed_repeats_an_answer_and_another_does_not(cluster: LocalCluster) -> None:
    answers = [await ask(cluster, temperature=1.0, seed=seed) for seed in (5, 5, 6)]
    assert answers[0].token_ids == answers[1].token_ids != answers[2].token_ids


@pytest.mark.parametrize("penalty", [0.6, 0.75])
async def test_repetition_penalty_is_that_of_transformers(
    cluster: LocalCluster, greedy: Answer, hf_model_dir: Path, penalty: float
) -> None:
    inputs = torch.tensor([prompt_ids(hf_model_dir, QUESTION, ())])
    expected = (
        plain_reference.load_plain_model(hf_model_dir)
        .generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            do_sample=False,
            max_new_tokens=MAX_TOKENS,
            repetition_penalty=penalty,
        )[0, inputs.shape[1] :]
        .tolist()
    )
    answer = await ask(cluster, repetition_penalty=penalty)
    assert list(answer.token_ids) == expected[: len(answer.token_ids)]
    assert answer.token_ids != greedy.token_ids
    ended = answer.finished.finish_reason == inference_pb2.FINISH_REASON_STOP
    assert len(expected) == len(answer.token_ids) + ended


async def test_biases_force_tokens_and_frequency_breaks_the_loop(
    cluster: LocalCluster, greedy: Answer
) -> None:
    first, other, *_ = dict.fromkeys(greedy.token_ids)
    biases = {first: 100.0, other: 90.0}
    assert set((await ask(cluster, logit_bias=biases)).token_ids) == {first}
    broken = await ask(cluster, logit_bias=biases, frequency_penalty=2.0)
    assert set(broken.token_ids) == {first, other}


async def test_presence_is_taken_from_tokens_of_the_answer(cluster: LocalCluster) -> None:
    without = await ask(cluster, repetition_penalty=0.75)
    discouraged = await ask(cluster, repetition_penalty=0.75, presence_penalty=2.0)
    assert discouraged.token_ids[0] == without.token_ids[0]
    assert len(set(discouraged.token_ids)) > len(set(without.token_ids))


async def test_a_stop_text_ends_the_answer_and_is_named(
    cluster: LocalCluster, greedy: Answer
) -> None:
    middle = len(greedy.text) // 2
    stop = greedy.text[middle : middle + 4]
    stopped = await ask(cluster, stop=["\0", stop])
    assert stopped.text == greedy.text.partition(stop)[0]
    assert stopped.token_ids == greedy.token_ids[: len(stopped.token_ids)]
    assert stopped.finished.finish_reason == inference_pb2.FINISH_REASON_STOP
    assert stopped.finished.stop.text == stop


async def test_a_stop_token_ends_the_answer_and_is_named(
    cluster: LocalCluster, greedy: Answer
) -> None:
    stop = greedy.token_ids[7]
    stopped = await ask(cluster, stop_token_ids=[stop])
    assert stopped.token_ids == greedy.token_ids[: greedy.token_ids.index(stop)]
    assert stopped.finished.stop.token_id == stop
    assert stopped.finished.usage.completion_tokens == len(stopped.token_ids)


async def test_an_answer_may_go_on_past_its_end(
    cluster: LocalCluster, plain_model_dir: Path
) -> None:
    end = json.loads((plain_model_dir / "generation_config.json").read_text())["eos_token_id"]
    ended = await ask(cluster, logit_bias={end: 100.0})
    assert (ended.token_ids, ended.text) == ((), "")
    assert not ended.finished.HasField("stop")
    ignoring = await ask(cluster, logit_bias={end: 100.0}, ignore_eos=True)
    assert ignoring.token_ids == (end,) * MAX_TOKENS
    assert ignoring.finished.finish_reason == inference_pb2.FINISH_REASON_LENGTH


async def test_logprobs_come_with_every_token(cluster: LocalCluster, greedy: Answer) -> None:
    deltas = [
        response.delta
        async for response in cluster.client.stream(asking(logprobs=2))
        if response.HasField("delta")
    ]
    reported = [each for delta in deltas for each in delta.logprobs]
    assert [each.chosen.token_id for each in reported] == list(greedy.token_ids)
    for each in reported:
        assert each.top[0] == each.chosen
        assert 0 >= each.top[0].logprob >= each.top[1].logprob
        assert math.exp(each.top[0].logprob) + math.exp(each.top[1].logprob) <= 1.0001
    assert "".join(each.chosen.text for each in reported).startswith(greedy.text[:5])


async def test_no_logprobs_unless_asked_for(cluster: LocalCluster) -> None:
    async for response in cluster.client.stream(asking()):
        assert not response.delta.logprobs
    async for response in cluster.client.stream(asking(logprobs=0)):
        assert all(not each.top for each in response.delta.logprobs)


async def choices_of(
    cluster: LocalCluster, request: inference_pb2.GenerateRequest
) -> tuple[dict[int, list[int]], inference_pb2.GenerateFinished]:
    """Tokens of each choice, and the end of all."""
    token_ids: dict[int, list[int]] = {}
    finished = inference_pb2.GenerateFinished()
    async for response in cluster.client.stream(request):
        token_ids.setdefault(response.delta.choice, []).extend(response.delta.token_ids)
        finished = response.finished
    return token_ids, finished


@pytest.mark.parametrize("num_turns", [1, 2])
async def test_choices_are_answers_to_their_own_seeds(
    cluster: LocalCluster, num_turns: int
) -> None:
    """In the second turn the picture's keys and values are known already."""
    question = (user(pictures.shapes(100, 90, seed=1), "What is this?"),)

    def request(seed: int, n: int) -> inference_pb2.GenerateRequest:
        made = wire_request(question, MAX_TOKENS, ResolutionScope.IMAGE)
        made.sampling.CopyFrom(
            inference_pb2.SamplingParameters(max_tokens=MAX_TOKENS, temperature=0.9, seed=seed, n=n)
        )
        return made

    for _ in range(num_turns):
        token_ids, finished = await choices_of(cluster, request(5, 3))
    seeds = [choice_seed(5, choice) for choice in range(3)]
    alone = [(await cluster.client.answer(request(seed, 1))).token_ids for seed in seeds]
    assert [tuple(token_ids[choice]) for choice in range(3)] == alone
    assert len(set(alone)) == 3
    assert [end.completion_tokens for end in finished.choices] == list(map(len, alone))
    assert finished.usage.completion_tokens == sum(map(len, alone))
    await wait_until_idle(cluster)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "temperature": ({"temperature": 2.5}, "temperature must be from 0 to 2; it is 2.5."),
    "top_p": ({"top_p": 0.0}, "top_p must be more than 0 and at most 1; it is 0."),
    "min_p": ({"min_p": 2.0}, "min_p must be from 0 to 1; it is 2."),
    "repetition_penalty": (
        {"repetition_penalty": -1.0},
        "repetition_penalty must be more than 0 and at most 10; it is -1.",
    ),
    "presence_penalty": (
        {"presence_penalty": 3.0},
        "presence_penalty must be from -2 to 2; it is 3.",
    ),
    "frequency_penalty": (
        {"frequency_penalty": -3.0},
        "frequency_penalty must be from -2 to 2; it is -3.",
    ),
    "stop[0]": ({"stop": [""]}, "A stop text has 1 to 256 characters; it has 0."),
    "stop_token_ids": (
        {"stop_token_ids": [10**6]},
        "stop_token_ids names token 1000000; the model has ",
    ),
    "logit_bias": (
        {"logit_bias": {10**6: 1.0}},
        "logit_bias names token 1000000; the model has ",
    ),
    "logit_bias[3]": (
        {"logit_bias": {3: 101.0}},
        "A logit bias must be from -100 to 100; it is 101.",
    ),
    "n": ({"n": 17}, "n must be from 1 to 16; it is 17."),
    "logprobs": ({"logprobs": 21}, "logprobs must be at most 20; it is 21."),
}


@pytest.mark.parametrize("field", REFUSED)
async def test_a_value_out_of_bounds_is_refused(cluster: LocalCluster, field: str) -> None:
    sampling, sentence = REFUSED[field]
    with pytest.raises(InvalidRequestError) as refused:
        await ask(cluster, **sampling)
    assert refused.value.field == f"sampling.{field}"
    assert refused.value.message.startswith(sentence)
