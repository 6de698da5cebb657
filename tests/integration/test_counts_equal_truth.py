"""What the processes count equals what their clients saw, whatever failed on the way."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from common.errors import DeadlineExpiredError, DvdError, InvalidRequestError, OverloadedError
from common.types import ReplicaRole
from deploy.client import Answer
from protos.dvd.v1 import inference_pb2
from router.requests import RequestCost
from tests import pictures
from tests.integration.dying_replica import ENCODE, GENERATE, PUT_EMBEDDINGS
from tests.integration.idle import wait_until_idle
from tests.integration.metrics import Risen
from tests.integration.mortal_cluster import Mortal, mortal_cluster
from tests.integration.requests import wire_request
from tests.reference.conversation import user

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_TOKENS = 12
# Thumbnails included.
TILES = (5, 3)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mortal(flash_model_dir: Path) -> AsyncIterator[Mortal]:
    async with mortal_cluster(flash_model_dir, *ReplicaRole) as made:
        yield made


def asking(seed: int) -> inference_pb2.GenerateRequest:
    """Ask about two pictures that no other seed has, for an answer that is as long as it may be."""
    files = (pictures.grid(2, 2, seed), pictures.grid(2, 1, seed))
    request = wire_request((user(*files, "Compare them."),), MAX_TOKENS)
    request.sampling.ignore_eos = True
    return request


class Watch:
    """What is counted from now on, beside what clients see."""

    def __init__(self, mortal: Mortal) -> None:
        cluster = mortal.cluster
        self.mortal = mortal
        self.answers: list[Answer] = []
        self.router = Risen(cluster.router.metrics.registry)
        self.vision = Risen(*(each.registry for each in cluster.visions))
        self.language = Risen(*(each.registry for each in cluster.languages))

    async def ask(self, seed: int, num_messages: int | None = None) -> None:
        """Have a request answered, by a cluster of which somebody may die meanwhile."""
        self.answers.append(await self.mortal.answer(asking(seed), num_messages))

    def check_router(self) -> None:
        """Compare what the router counts with the answers."""
        usages = [answer.finished.usage for answer in self.answers]
        router, num = self.router, len(self.answers)
        assert router.series("dvd_requests_total") == {("OK", "length"): num}
        tokens = sum(len(answer.token_ids) for answer in self.answers)
        assert tokens == sum(usage.completion_tokens for usage in usages)
        assert router.of("dvd_delivered_tokens_total") == tokens
        assert router.of("dvd_request_generation_tokens_sum") == tokens
        assert router.of("dvd_inter_token_latency_seconds_count") == tokens - num
        for name in ("time_to_first_token", "e2e_request_latency"):
            assert router.of(f"dvd_{name}_seconds_count") == num
        assert router.of("dvd_request_images_sum") == num * len(TILES)
        low = sum(usage.compressed_tiles for usage in usages)
        assert router.of("dvd_answered_tiles_total") == num * sum(TILES)
        assert router.of("dvd_answered_tiles_total", resolution="low") == low
        before = sum(usage.visual_tokens_before_resolution for usage in usages)
        after = sum(usage.visual_tokens for usage in usages)
        points = {("before",): before, ("after",): after}
        assert router.series("dvd_answered_visual_tokens_total") == points


async def test_undisturbed_all_processes_count_the_same(mortal: Mortal) -> None:
    watch = Watch(mortal)
    for seed in (1, 2):
        await watch.ask(seed)
    watch.check_router()
    assert not watch.router.of("dvd_retries_total") + watch.router.of("dvd_resumptions_total")
    language, vision = watch.language, watch.vision
    assert language.of("dvd_generation_tokens_total") == 2 * MAX_TOKENS
    assert language.of("dvd_language_decode_seconds_count") == 2
    assert vision.series("dvd_embedding_streams_total") == {("committed",): 2 * len(TILES)}
    assert vision.of("dvd_embedding_bytes_total") == language.of("dvd_embedding_bytes_total") > 0
    tokens = watch.router.series("dvd_answered_visual_tokens_total")
    assert vision.series("dvd_vision_tokens_total") == tokens
    tiles = watch.router.series("dvd_answered_tiles_total")
    assert vision.series("dvd_vision_tiles_total") == tiles
    assert watch.router.of("dvd_placements_total", role="vision") == 2 * len(TILES)
    assert watch.router.of("dvd_placements_total", role="language") == 2


@pytest.mark.parametrize("num_messages", [0, 1, 6])
async def test_a_lost_language_replica_is_one_retry_and_no_token_twice(
    mortal: Mortal, num_messages: int
) -> None:
    watch = Watch(mortal)
    mortal.fate.method, mortal.fate.at_request = GENERATE, False
    await watch.ask(100 + num_messages, num_messages)
    watch.check_router()
    assert watch.router.series("dvd_retries_total") == {("language",): 1}
    assert watch.router.of("dvd_resumptions_total") == 1
    # The lost one may have gone on for a while before it noticed.
    assert watch.language.of("dvd_generation_tokens_total") >= MAX_TOKENS


async def test_a_lost_vision_replica_is_one_retry_a_picture(mortal: Mortal) -> None:
    watch = Watch(mortal)
    mortal.fate.method, mortal.fate.at_request = ENCODE, False
    await watch.ask(200, 0)
    watch.check_router()
    retries = watch.router.series("dvd_retries_total")
    assert set(retries) == {("vision",)}
    assert 1 <= retries[("vision",)] <= len(TILES)
    assert watch.router.of("dvd_resumptions_total") == 0
    assert watch.vision.series("dvd_embedding_streams_total") == {("committed",): len(TILES)}


async def test_streams_to_a_lost_language_replica_are_broken_and_made_again(
    mortal: Mortal,
) -> None:
    watch = Watch(mortal)
    mortal.fate.method, mortal.fate.at_request = PUT_EMBEDDINGS, True
    await watch.ask(250, 0)
    watch.check_router()
    streams = watch.vision.series("dvd_embedding_streams_total")
    assert streams[("broken",)] >= 1
    assert streams[("committed",)] == watch.vision.of("dvd_embedding_transfer_seconds_count")
    assert streams[("committed",)] >= len(TILES)
    assert watch.router.series("dvd_retries_total") == {("language",): 1}


async def test_those_who_get_no_answer_are_counted_by_their_status(mortal: Mortal) -> None:
    await mortal.revive()
    watch, cluster = Watch(mortal), mortal.cluster
    seen: Counter[str] = Counter()

    async def fail(request: inference_pb2.GenerateRequest, expected: type[DvdError]) -> None:
        with pytest.raises(expected) as caught:
            await cluster.client.answer(request)
        seen[caught.value.code.name] += 1

    broken = asking(300)
    broken.messages[0].parts[0].image.data = b"no picture"
    await fail(broken, InvalidRequestError)
    with cluster.router.admission.admit(RequestCost(1 << 20, 0, 0)):
        await fail(asking(301), OverloadedError)
    with pytest.raises(DeadlineExpiredError):
        await cluster.client.answer(asking(303), timeout_seconds=0.05)
    seen["DEADLINE_EXCEEDED"] += 1
    stream, num_tokens = cluster.client.stream(asking(302)), 0
    async for event in stream:
        num_tokens += len(event.delta.token_ids)
        if num_tokens == 2:
            break
    await stream.aclose()
    seen["CANCELLED"] += 1
    await wait_until_idle(cluster)
    async with asyncio.timeout(20):
        while watch.router.of("dvd_requests_total") < seen.total():
            await cluster.client.model()
    statuses = {
        status: num for (status, _), num in watch.router.series("dvd_requests_total").items()
    }
    assert statuses == seen
    assert watch.router.series("dvd_refusals_total") == {("tiles",): 1}
    assert watch.router.of("dvd_e2e_request_latency_seconds_count") == 0
    assert num_tokens <= watch.router.of("dvd_delivered_tokens_total") <= MAX_TOKENS
