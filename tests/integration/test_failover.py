"""A language replica dies at every message of its answer, and the client sees the same answer.

Failure modes 3 and 36: text, token ids, end, counts and pictures are those of the undisturbed run,
and nothing is encoded again. Every message takes minutes and is marked slow; a part of them, and
every token at the engine alone (`test_engine_resumption.py`), is not.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from common.types import ReplicaRole
from deploy.client import Answer
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.metrics import scrape
from tests.integration.mortal_cluster import Mortal, mortal_cluster
from tests.integration.requests import wire_request
from tests.reference.conversation import Message, user

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_TOKENS = 64
# Accepted, a delta a token, one with the end, finished.
NUM_MESSAGES = 1 + MAX_TOKENS + 1 + 1
QUESTION = (user("Tell me a story, and take your time."),)
WITH_PICTURES = (user(pictures.grid(2, 2, 7), pictures.grid(1, 2, 8), "What do you see?"),)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mortal(flash_model_dir: Path) -> AsyncIterator[Mortal]:
    async with mortal_cluster(flash_model_dir, ReplicaRole.LANGUAGE) as made:
        yield made


def asking(messages: tuple[Message, ...], **sampling: Any) -> inference_pb2.GenerateRequest:
    request = wire_request(messages, MAX_TOKENS)
    fields = {"max_tokens": MAX_TOKENS, "temperature": 0.0, "ignore_eos": True, **sampling}
    request.sampling.CopyFrom(inference_pb2.SamplingParameters(**fields))
    return request


def assert_same(answer: Answer, whole: Answer) -> None:
    assert answer.token_ids == whole.token_ids
    assert answer.text == whole.text
    ours, theirs = answer.finished, whole.finished
    assert (ours.finish_reason, ours.stop) == (theirs.finish_reason, theirs.stop)
    assert list(ours.choices) == list(theirs.choices)
    assert list(ours.images) == list(theirs.images)
    for name in ("text_tokens", "visual_tokens", "tiles", "compressed_tiles", "completion_tokens"):
        assert getattr(ours.usage, name) == getattr(theirs.usage, name)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
async def test_killed_at_every_token_of_a_greedy_answer(mortal: Mortal, step: int) -> None:
    request = asking(QUESTION)
    whole = await mortal.answer(request)
    assert len(whole.token_ids) == MAX_TOKENS
    assert any(not character.isascii() for character in whole.text)
    for num_messages in range(0, NUM_MESSAGES, step):
        assert_same(await mortal.answer(request, num_messages), whole)


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
async def test_killed_at_every_token_of_a_seeded_answer_about_pictures_with_a_stop_text(
    mortal: Mortal, step: int
) -> None:
    """No vision replica encodes a tile twice: features are sent again from where they are.

    Where an answer that began with kept KV goes on elsewhere, nobody has sent its pictures yet,
    and either vision replica may be asked for them.
    """
    sampling = {"temperature": 1.0, "seed": 11, "top_p": 0.95}
    plain = await mortal.answer(asking(WITH_PICTURES, **sampling))
    stop = plain.text[-12:-6]
    request = asking(WITH_PICTURES, **sampling, stop=[stop])
    whole = await mortal.answer(request)
    assert whole.finished.stop.text == stop
    asked = sum(len(image.compressed) for image in whole.finished.images)
    before = mortal.num_tiles
    for num_messages in range(0, len(whole.token_ids) + 3, step):
        assert_same(await mortal.answer(request, num_messages), whole)
    # Each of the two has encoded each tile once at most, and together they had all before.
    assert 0 <= mortal.num_tiles - before <= asked


async def test_several_answers_go_on_and_ended_ones_stay_as_they_are(mortal: Mortal) -> None:
    request = asking(QUESTION, temperature=1.0, seed=3, n=3)
    request.sampling.ignore_eos = False
    whole = [event async for event in mortal.cluster.client.stream(request)]
    for num_messages in range(0, len(whole), 7):
        await mortal.revive()
        mortal.fate.messages_left = num_messages
        answer = [event async for event in mortal.cluster.client.stream(request)]
        assert by_choice(answer) == by_choice(whole)
        assert list(answer[-1].finished.choices) == list(whole[-1].finished.choices)


def by_choice(
    events: list[inference_pb2.GenerateResponse],
) -> dict[int, tuple[str, tuple[int, ...], int]]:
    """Text, tokens and number of ends of each answer."""
    told: dict[int, tuple[str, tuple[int, ...], int]] = {}
    for delta in (event.delta for event in events if event.HasField("delta")):
        text, token_ids, ends = told.get(delta.choice, ("", (), 0))
        told[delta.choice] = (
            text + delta.text,
            token_ids + tuple(delta.token_ids),
            ends + delta.HasField("end"),
        )
    return told


@dataclass(frozen=True)
class Counted:
    """What the processes export.

    Attributes:
        requests: Answered.
        first_tokens: Timed.
        resumptions: Of answers.
        generated: Tokens, by all language replicas.
    """

    requests: float
    first_tokens: float
    resumptions: float
    generated: float


async def counted(mortal: Mortal) -> Counted:
    registry = mortal.cluster.router.metrics.registry
    addresses = {entry.metrics_address for entry in mortal.real}
    samples = [await asyncio.to_thread(scrape, address) for address in addresses]
    answered = {"status": "OK", "finish_reason": "length"}
    return Counted(
        registry.get_sample_value("dvd_requests_total", answered) or 0,
        registry.get_sample_value("dvd_time_to_first_token_seconds_count") or 0,
        registry.get_sample_value("dvd_resumptions_total") or 0,
        sum(each["dvd_generation_tokens_total"] for each in samples),
    )


async def test_counters_match_the_truth_after_a_failure(mortal: Mortal) -> None:
    """Failure mode 35: one request, one first token, and every token counted where it was made."""
    request = asking(QUESTION)
    await mortal.answer(request)
    before = await counted(mortal)
    await mortal.answer(request, num_messages=30)
    after = await counted(mortal)
    assert after.requests == before.requests + 1
    assert after.first_tokens == before.first_tokens + 1
    assert after.resumptions == before.resumptions + 1
    # 29 came through of what the lost one sent, and it may have sent more before it noticed.
    generated = after.generated - before.generated
    assert MAX_TOKENS <= generated <= MAX_TOKENS + MAX_TOKENS - 29
