"""The cluster's greedy tokens in float32 equal the references', alone and among others."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from common.types import ResolutionScope
from tests.integration.conversations import CONVERSATIONS
from tests.integration.requests import wire_request
from tests.local_cluster import LocalCluster, local_cluster
from tests.reference import flash_reference, plain_reference
from tests.reference.conversation import ReferenceAnswer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_TOKENS = 24
SCOPES = tuple(ResolutionScope)
NAMES = list(CONVERSATIONS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain_cluster(plain_model_dir: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(plain_model_dir) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def flash_cluster(flash_model_dir: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(flash_model_dir) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def plain_answers(hf_model_dir: Path) -> dict[str, ReferenceAnswer]:
    return {
        name: plain_reference.answer(hf_model_dir, conversation, MAX_TOKENS)
        for name, conversation in CONVERSATIONS.items()
    }


@pytest.mark.parametrize("name", NAMES)
async def test_a_plain_model_answers_as_transformers_does(
    plain_cluster: LocalCluster, plain_answers: dict[str, ReferenceAnswer], name: str
) -> None:
    answer = await plain_cluster.client.answer(wire_request(CONVERSATIONS[name], MAX_TOKENS))
    expected = plain_answers[name]
    assert answer.token_ids == expected.token_ids
    assert answer.text == expected.text
    assert answer.finished.usage.visual_tokens == expected.num_visual_tokens
    assert (
        answer.finished.usage.text_tokens == len(expected.prompt_ids) - expected.num_visual_tokens
    )


async def test_it_answers_the_same_with_eight_requests_in_flight(
    plain_cluster: LocalCluster, plain_answers: dict[str, ReferenceAnswer]
) -> None:
    at_a_time = asyncio.Semaphore(8)

    async def ask(name: str) -> tuple[int, ...]:
        async with at_a_time:
            request = wire_request(CONVERSATIONS[name], MAX_TOKENS)
            return (await plain_cluster.client.answer(request)).token_ids

    names = NAMES * 2
    answers = await asyncio.gather(*(ask(name) for name in names))
    assert list(answers) == [plain_answers[name].token_ids for name in names]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", NAMES)
async def test_a_flash_model_decides_and_answers_as_the_published_rule(
    flash_cluster: LocalCluster, flash_model_dir: Path, name: str, scope: ResolutionScope
) -> None:
    expected = flash_reference.answer(flash_model_dir, CONVERSATIONS[name], MAX_TOKENS, scope)
    request = wire_request(CONVERSATIONS[name], MAX_TOKENS, scope)
    answer = await flash_cluster.client.answer(request)
    images = answer.finished.images
    assert [tuple(image.compressed) for image in images] == [
        picture.compressed for picture in expected.pictures
    ]
    for image, picture in zip(images, expected.pictures, strict=True):
        assert list(image.scores) == pytest.approx(picture.scores, rel=1e-5)
    assert answer.token_ids == expected.token_ids
    assert answer.finished.usage.visual_tokens == expected.num_visual_tokens


async def test_neighbours_change_no_mask_and_no_answer(flash_cluster: LocalCluster) -> None:
    requests = [wire_request(CONVERSATIONS[name], MAX_TOKENS) for name in NAMES]
    alone = [await flash_cluster.client.answer(request) for request in requests]
    together = await asyncio.gather(*(flash_cluster.client.answer(each) for each in requests))
    for one, other in zip(alone, together, strict=True):
        assert one.token_ids == other.token_ids
        assert list(one.finished.images) == list(other.finished.images)
