"""A picture whose keys and values are kept is neither encoded nor sent, and nothing else is reused.

Counted at the parts themselves: passes of the vision transformer, bytes in the inbox, tokens from
the cache.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from common.config import LanguageServiceConfig
from common.types import ResolutionScope, Role
from deploy.client import Answer
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.idle import wait_until_idle
from tests.integration.metrics import scrape
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster
from tests.reference import flash_reference
from tests.reference.conversation import Message, message, user

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_TOKENS = 24
# Well above the longest request, so that pictures of waiting requests may be held.
OPTIONS = ClusterOptions(language=LanguageServiceConfig(kv_tokens=16384, max_context_tokens=4096))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def flash_cluster(flash_model_dir: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(flash_model_dir, OPTIONS) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plain_cluster(plain_model_dir: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(plain_model_dir, OPTIONS) as cluster:
        yield cluster


@dataclass(frozen=True)
class Work:
    """What a cluster has done since it started."""

    tiles: int
    received_bytes: int
    reused: int

    @staticmethod
    def of(cluster: LocalCluster) -> "Work":
        return Work(
            sum(each.engine.stats.num_tiles for each in cluster.visions),
            sum(each.inbox.received_bytes for each in cluster.languages),
            sum(each.answerer.num_reused_images for each in cluster.languages),
        )

    def since(self, before: "Work") -> "Work":
        return Work(
            self.tiles - before.tiles,
            self.received_bytes - before.received_bytes,
            self.reused - before.reused,
        )


async def ask(
    cluster: LocalCluster, messages: tuple[Message, ...], scope: ResolutionScope
) -> tuple[Answer, Work]:
    """Ask, and count what it took."""
    before = Work.of(cluster)
    answer = await cluster.client.answer(wire_request(messages, MAX_TOKENS, scope))
    await wait_until_idle(cluster)
    return answer, Work.of(cluster).since(before)


def picture_of(seed: int) -> bytes:
    return pictures.grid(2, 2, seed)


def next_turn(first: tuple[Message, ...], answer: Answer, question: str) -> tuple[Message, ...]:
    return (*first, message(Role.ASSISTANT, answer.text), user(question))


@pytest.mark.parametrize("scope", ResolutionScope)
async def test_the_next_turn_takes_no_vision_pass_and_no_transfer(
    flash_cluster: LocalCluster, flash_model_dir: Path, scope: ResolutionScope
) -> None:
    first = (user(picture_of(100 + len(scope)), "What do you see here, in a few words?"),)
    opening, work = await ask(flash_cluster, first, scope)
    assert work.tiles > 0
    assert work.received_bytes > 0
    turn = next_turn(first, opening, "And what is behind it?")
    answer, work = await ask(flash_cluster, turn, scope)
    assert work == Work(tiles=0, received_bytes=0, reused=1)
    usage, timings = answer.finished.usage, answer.finished.timings
    assert usage.cached_tokens > usage.visual_tokens > 0
    assert (timings.vit_seconds, timings.preprocess_seconds, timings.transfer_seconds) == (0, 0, 0)
    assert answer.finished.images == opening.finished.images
    expected = flash_reference.answer(flash_model_dir, turn, MAX_TOKENS, scope)
    assert answer.token_ids == expected.token_ids


async def test_the_same_picture_serves_another_question(
    flash_cluster: LocalCluster, flash_model_dir: Path
) -> None:
    picture, scope = picture_of(200), ResolutionScope.IMAGE
    await ask(flash_cluster, (user(picture, "What is this?"),), scope)
    other = (user(picture, "Where was it taken?"),)
    answer, work = await ask(flash_cluster, other, scope)
    assert work == Work(tiles=0, received_bytes=0, reused=1)
    expected = flash_reference.answer(flash_model_dir, other, MAX_TOKENS, scope)
    assert answer.token_ids == expected.token_ids


async def test_a_new_picture_is_all_that_is_sent(
    flash_cluster: LocalCluster, flash_model_dir: Path
) -> None:
    scope = ResolutionScope.IMAGE
    first = (user(picture_of(300), "What is this?"),)
    opening, before = await ask(flash_cluster, first, scope)
    new = user(picture_of(301), "And this?")
    turn = (*first, message(Role.ASSISTANT, opening.text), new)
    answer, work = await ask(flash_cluster, turn, scope)
    assert (work.tiles, work.reused) == (before.tiles, 1)
    assert work.received_bytes > 0
    expected = flash_reference.answer(flash_model_dir, turn, MAX_TOKENS, scope)
    assert answer.token_ids == expected.token_ids


async def test_another_picture_is_not_taken_for_it(
    flash_cluster: LocalCluster, flash_model_dir: Path
) -> None:
    scope = ResolutionScope.OFF
    await ask(flash_cluster, (user(picture_of(400), "What is this?"),), scope)
    other = (user(picture_of(401), "What is this?"),)
    answer, work = await ask(flash_cluster, other, scope)
    assert work.reused == 0
    assert work.received_bytes > 0
    expected = flash_reference.answer(flash_model_dir, other, MAX_TOKENS, scope)
    assert answer.token_ids == expected.token_ids


async def test_another_mask_is_sent_again_without_a_vision_pass(
    flash_cluster: LocalCluster, flash_model_dir: Path
) -> None:
    question = (user(picture_of(500), "What is this?"),)
    whole, _ = await ask(flash_cluster, question, ResolutionScope.OFF)
    answer, work = await ask(flash_cluster, question, ResolutionScope.IMAGE)
    assert any(answer.finished.images[0].compressed)
    assert not any(whole.finished.images[0].compressed)
    assert (work.tiles, work.reused) == (0, 0)
    assert work.received_bytes > 0
    expected = flash_reference.answer(flash_model_dir, question, MAX_TOKENS, ResolutionScope.IMAGE)
    assert answer.token_ids == expected.token_ids


async def test_a_model_without_a_gate_reuses_pictures_too(plain_cluster: LocalCluster) -> None:
    scope = ResolutionScope.REQUEST
    first = (user(picture_of(600), "What is this?"),)
    opening, work = await ask(plain_cluster, first, scope)
    assert work.tiles > 0
    _, work = await ask(plain_cluster, next_turn(first, opening, "Why?"), scope)
    assert work == Work(tiles=0, received_bytes=0, reused=1)


async def test_many_turns_at_once_stay_right(
    flash_cluster: LocalCluster, flash_model_dir: Path
) -> None:
    scope, shared = ResolutionScope.IMAGE, picture_of(700)
    questions = [(user(shared, f"Question number {number}?"),) for number in range(6)]

    async def asked(question: tuple[Message, ...]) -> tuple[int, ...]:
        request = wire_request(question, MAX_TOKENS, scope)
        return (await flash_cluster.client.answer(request)).token_ids

    rounds = [await asyncio.gather(*map(asked, questions)) for _ in range(2)]
    await wait_until_idle(flash_cluster)
    expected = [
        flash_reference.answer(flash_model_dir, question, MAX_TOKENS, scope).token_ids
        for question in questions
    ]
    assert rounds == [expected, expected]


async def test_without_a_prefix_cache_everything_is_sent_again(flash_model_dir: Path) -> None:
    options = ClusterOptions(
        language=LanguageServiceConfig(kv_tokens=16384, max_context_tokens=4096, prefix_cache=False)
    )
    question = (user(picture_of(800), "What is this?"),)
    async with local_cluster(flash_model_dir, options) as cluster:
        first, before = await ask(cluster, question, ResolutionScope.IMAGE)
        again, work = await ask(cluster, question, ResolutionScope.IMAGE)
    assert work == Work(tiles=0, received_bytes=before.received_bytes, reused=0)
    assert again.finished.usage.cached_tokens == 0
    assert again.token_ids == first.token_ids


async def test_reuse_is_exported(flash_cluster: LocalCluster) -> None:
    question = (user(picture_of(900), "What is this?"),)
    await ask(flash_cluster, question, ResolutionScope.IMAGE)
    await ask(flash_cluster, question, ResolutionScope.IMAGE)
    replica = next(each for each in flash_cluster.roster.replicas if each.role == "language")
    samples = await asyncio.to_thread(scrape, replica.metrics_address)
    stats = flash_cluster.languages[0].engine.stats
    assert samples["dvd_reused_images_total"] == Work.of(flash_cluster).reused > 0
    assert samples["dvd_prefix_hit_tokens_total"] == stats.num_hit_tokens > 0
    assert samples["dvd_prefix_query_tokens_total"] == stats.num_query_tokens
    assert samples["dvd_kv_kept_tokens"] > 0
    assert samples["dvd_preemptions_total"] == 0


async def test_a_priority_goes_all_the_way(flash_cluster: LocalCluster) -> None:
    request: inference_pb2.GenerateRequest = wire_request((user("Hello."),), 4)
    request.priority = 100
    assert (await flash_cluster.client.answer(request)).token_ids
