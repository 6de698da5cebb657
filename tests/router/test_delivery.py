"""Pictures to a language replica: encoded, decided, pushed; retried where that can help."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from common.errors import (
    DeadlineExpiredError,
    DvdError,
    EmbeddingRejectedError,
    FeaturesNotFoundError,
    InvalidImageError,
    MismatchError,
    OverloadedError,
    SlotTakenError,
    UnavailableError,
    UnreachableError,
)
from common.resolution_rule import ResolutionThresholds
from common.types import ResolutionScope
from router.answer import ImageResolution, StageSeconds
from router.attempts import MAX_FAILURES
from router.deadline import Deadline
from router.delivery import PictureDelivery, run_all
from router.known_resolutions import known_resolutions
from router.placed_pictures import PlacedPictures
from router.replica_pool import ReplicaPool
from router.requests import ValidRequest
from router.score_memory import ScoreMemory
from router.vision_client import Destination, PlannedPush
from tests.fakes import in_virtual_time, pass_time, settle
from tests.router.fakes import (
    DTYPE,
    THRESHOLDS,
    FakeLanguage,
    FakeVision,
    address,
    pool_of,
    request,
)

LOST = UnreachableError("A replica cannot be reached.")
STRANDED = UnavailableError("The language replica cannot be reached.")
GONE = FeaturesNotFoundError("The picture's features are not kept; encode it again.")
Resolutions = tuple[ImageResolution, ...]


def visions(count: int) -> list[FakeVision]:
    """Vision replicas with one journal."""
    journal: list[str] = []
    return [FakeVision(address(f"vision-{index}"), journal) for index in range(count)]


@asynccontextmanager
async def delivery(
    wanted: ValidRequest,
    *fakes: FakeVision,
    thresholds: ResolutionThresholds | None = THRESHOLDS,
    deadline: Deadline | None = None,
    memory: ScoreMemory | None = None,
    held: frozenset[int] = frozenset(),
) -> AsyncIterator[PictureDelivery]:
    """Everything in place to deliver the pictures of a request; all work is given back."""
    async with pool_of(*fakes) as pool, pool_of(FakeLanguage(address("language-0"))) as languages:
        memory = ScoreMemory(8) if memory is None else memory
        wanted = replace(wanted, thresholds=thresholds)
        with languages.lease(1) as language:
            yield PictureDelivery(
                request=wanted,
                name=wanted.request_id,
                language=language,
                visions=pool,
                pictures=PlacedPictures(),
                known=known_resolutions(wanted, memory),
                needed=frozenset(range(len(wanted.images))) - held,
                memory=memory,
                seconds=StageSeconds(),
                deadline=deadline or Deadline.after(600),
            )
        assert placed_work(pool) == 0


def placed_work(pool: ReplicaPool[FakeVision]) -> int:
    return sum(replica.placed_work for replica in pool._replicas.values())


async def deliver(wanted: ValidRequest, *fakes: FakeVision) -> Resolutions:
    async with delivery(wanted, *fakes) as work:
        return await work.deliver()


async def failure(wanted: ValidRequest, *fakes: FakeVision) -> DvdError:
    with pytest.raises(DvdError) as caught:
        await deliver(wanted, *fakes)
    return caught.value


async def make_busy(fake: FakeVision) -> None:
    """Make a replica the last that work would be placed on."""
    fake.reports.put_nowait(100)
    await settle()


def masks(resolutions: Resolutions) -> list[tuple[bool, ...]]:
    return [resolution.compressed for resolution in resolutions]


@in_virtual_time
async def test_a_picture_is_encoded_decided_and_pushed_to_its_place() -> None:
    (fake,) = visions(1)
    fake.scores[b"a"] = (0.1, 0.9)
    (resolution,) = await deliver(request(2), fake)
    wanted = request(2).images[0]
    assert resolution == ImageResolution(wanted.grid, (0.1, 0.9), (False, True))
    place = Destination("language-0:1", DTYPE, "r1", image_index=0, attempt=0)
    assert fake.pushed == {b"a": [((False, True), place)]}
    assert [line.split()[0] for line in fake.journal] == ["encode", "encoded", "push", "pushed"]


@in_virtual_time
async def test_scope_request_decides_over_all_pictures() -> None:
    (fake,) = visions(1)
    fake.scores = {b"a": (0.5, 0.6), b"b": (0.7, 0.8)}
    resolutions = await deliver(request(2, 2), fake)
    assert masks(resolutions) == [(False, False), (True, True)]
    assert [push[0][0] for push in fake.pushed.values()] == masks(resolutions)


@in_virtual_time
async def test_scope_image_decides_each_picture_alone() -> None:
    (fake,) = visions(1)
    fake.scores = {b"a": (0.5, 0.6), b"b": (0.7, 0.8)}
    resolutions = await deliver(request(2, 2, scope=ResolutionScope.IMAGE), fake)
    assert masks(resolutions) == [(False, True), (False, True)]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (ResolutionScope.REQUEST, [(False, False), (False, True)]),
        (ResolutionScope.IMAGE, [(False, True), (False, True)]),
        (ResolutionScope.ABSOLUTE, [(False, True), (True, True)]),
        (ResolutionScope.OFF, [(False, False), (False, False)]),
    ],
)
@in_virtual_time
async def test_every_scope_follows_its_rule(
    scope: ResolutionScope, expected: list[tuple[bool, ...]]
) -> None:
    (fake,) = visions(1)
    fake.scores = {b"a": (0.3, 0.5), b"b": (0.5, 0.8)}
    assert masks(await deliver(request(2, 2, scope=scope), fake)) == expected


@pytest.mark.parametrize("scope", ResolutionScope)
@in_virtual_time
async def test_without_a_gate_nothing_is_compressed(scope: ResolutionScope) -> None:
    (fake,) = visions(1)
    fake.scores = {b"a": (), b"b": ()}
    async with delivery(request(2, 3, scope=scope), fake, thresholds=None) as work:
        assert masks(await work.deliver()) == [(False, False), (False, False, False)]


@pytest.mark.parametrize("scope", ResolutionScope)
@in_virtual_time
async def test_without_pictures_there_is_nothing_to_do(scope: ResolutionScope) -> None:
    (fake,) = visions(1)
    assert await deliver(request(scope=scope), fake) == ()
    assert fake.journal == []


@in_virtual_time
async def test_scope_request_pushes_nothing_before_the_last_picture_is_encoded() -> None:
    (fake,) = visions(1)
    last = asyncio.Event()
    fake.encode_outcomes[b"b"] = [last]
    async with delivery(request(1, 1), fake) as work:
        task = asyncio.create_task(work.deliver())
        await settle()
        assert fake.pushed == {}
        last.set()
        await task
    assert set(fake.pushed) == {b"a", b"b"}


@in_virtual_time
async def test_scope_image_pushes_before_the_last_picture_is_encoded() -> None:
    (fake,) = visions(1)
    last = asyncio.Event()
    fake.encode_outcomes[b"b"] = [last]
    async with delivery(request(1, 1, scope=ResolutionScope.IMAGE), fake) as work:
        task = asyncio.create_task(work.deliver())
        await settle()
        assert "encoded b vision-0" not in fake.journal
        assert "pushed a vision-0" in fake.journal
        last.set()
        await task
    assert fake.journal[-1] == "pushed b vision-0"


@in_virtual_time
async def test_a_mask_that_is_decided_goes_along_with_the_picture() -> None:
    (fake,) = visions(1)
    memory = ScoreMemory(8)
    memory.remember(b"a", (0.1, 0.9))
    async with delivery(request(2), fake, memory=memory) as work:
        await work.deliver()
    assert fake.planned == [PlannedPush((False, True), DTYPE)]


@in_virtual_time
async def test_a_picture_that_is_encoded_again_is_told_its_mask() -> None:
    (fake,) = visions(1)
    fake.push_outcomes[b"a"] = [GONE]
    await deliver(request(2), fake)
    assert fake.planned == [None, PlannedPush((False, False), DTYPE)]


@in_virtual_time
async def test_scores_are_remembered() -> None:
    (fake,) = visions(1)
    fake.scores[b"a"] = (0.1, 0.9)
    memory = ScoreMemory(8)
    async with delivery(request(2), fake, memory=memory) as work:
        await work.deliver()
    assert memory.recall(b"a") == (0.1, 0.9)


@in_virtual_time
async def test_a_picture_that_is_held_is_neither_encoded_nor_sent() -> None:
    (fake,) = visions(1)
    memory = ScoreMemory(8)
    memory.remember(b"a", (0.1, 0.9))
    memory.remember(b"b", (0.2, 0.8))
    wanted = request(2, 2)
    async with delivery(wanted, fake, memory=memory, held=frozenset({0})) as work:
        first, second = await work.deliver()
    assert first == ImageResolution(wanted.images[0].grid, (0.1, 0.9), (False, True))
    assert second.compressed == (False, True)
    assert {line.split()[1] for line in fake.journal} == {"b"}


@in_virtual_time
async def test_the_resolution_that_was_named_is_the_one_that_is_sent() -> None:
    (fake,) = visions(1)
    fake.scores[b"a"] = (0.9, 0.1)
    memory = ScoreMemory(8)
    memory.remember(b"a", (0.1, 0.9))
    async with delivery(request(2), fake, memory=memory) as work:
        await work.deliver()
    assert [mask for mask, _ in fake.pushed[b"a"]] == [(False, True)]


@in_virtual_time
async def test_scope_request_with_every_score_remembered_waits_for_nobody() -> None:
    (fake,) = visions(1)
    fake.encode_outcomes[b"b"] = [asyncio.Event()]
    memory = ScoreMemory(8)
    for key in (b"a", b"b"):
        memory.remember(key, (0.5,))
    async with delivery(request(1, 1), fake, memory=memory) as work:
        task = asyncio.create_task(work.deliver())
        await settle()
        assert "pushed a vision-0" in fake.journal
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@in_virtual_time
async def test_pictures_are_spread_by_their_tiles() -> None:
    fakes = visions(2)
    go_on = asyncio.Event()
    for fake in fakes:
        fake.encode_outcomes = {key: [go_on] for key in (b"a", b"b", b"c")}
    async with delivery(request(9, 1, 1), *fakes) as work:
        task = asyncio.create_task(work.deliver())
        await settle()
        assert fakes[0].journal == ["encode a vision-0", "encode b vision-1", "encode c vision-1"]
        go_on.set()
        await task


@in_virtual_time
async def test_an_encoding_that_is_lost_is_tried_once_elsewhere() -> None:
    fakes = visions(2)
    fakes[0].encode_outcomes[b"a"] = [LOST]
    async with delivery(request(1), *fakes) as work:
        await make_busy(fakes[1])
        await work.deliver()
    assert fakes[0].journal[:2] == ["encode a vision-0", "encode a vision-1"]
    assert fakes[1].pushed.keys() == {b"a"}


@in_virtual_time
async def test_an_encoding_that_is_lost_is_tried_again_where_there_is_no_elsewhere() -> None:
    (fake,) = visions(1)
    fake.encode_outcomes[b"a"] = [LOST]
    await deliver(request(1), fake)
    assert fake.journal[:2] == ["encode a vision-0"] * 2


@in_virtual_time
async def test_an_encoding_finds_its_way_over_any_number_of_lost_replicas() -> None:
    """Failure mode 2, before accept: one replica after the other is lost, and none asked twice."""
    fakes = visions(4)
    for fake in fakes[:3]:
        fake.encode_outcomes[b"a"] = [LOST]
    await deliver(request(1), *fakes)
    assert fakes[0].journal[:4] == [f"encode a vision-{index}" for index in range(4)]
    assert fakes[3].pushed.keys() == {b"a"}


@in_virtual_time
async def test_a_picture_that_breaks_every_replica_breaks_only_so_many() -> None:
    fakes = visions(8)
    for fake in fakes:
        fake.encode_outcomes[b"a"] = [LOST]
    assert await failure(request(1), *fakes) is LOST
    assert len(fakes[0].journal) == 1 + MAX_FAILURES


@in_virtual_time
async def test_only_the_pictures_of_a_lost_replica_move() -> None:
    """Failure mode 2, mid encode: what is encoded stays where it is, and the mask with it."""
    fakes = visions(2)
    fakes[1].encode_outcomes[b"b"] = [LOST]
    await deliver(request(1, 1), *fakes)
    assert [line for line in fakes[0].journal if line.startswith("encode ")] == [
        *("encode a vision-0", "encode b vision-1", "encode b vision-0"),
    ]
    assert fakes[1].pushed == {}


@in_virtual_time
async def test_a_vision_replica_that_refuses_for_want_of_room_is_passed_by() -> None:
    fakes = visions(2)
    fakes[0].encode_outcomes[b"a"] = [OverloadedError("Full.")]
    await deliver(request(1), *fakes)
    assert fakes[1].pushed.keys() == {b"a"}


@in_virtual_time
async def test_where_all_refuse_for_want_of_room_the_client_is_told() -> None:
    fakes = visions(2)
    full = [OverloadedError("Full.", 3.0) for _ in fakes]
    for fake, error in zip(fakes, full, strict=True):
        fake.encode_outcomes[b"a"] = [error]
    assert await failure(request(1), *fakes) is full[1]
    assert len(fakes[0].journal) == 2


@pytest.mark.parametrize(
    "error", [DvdError(), MismatchError("Tile count differs."), EmbeddingRejectedError("No.")]
)
@in_virtual_time
async def test_what_another_try_cannot_mend_is_not_tried_again(error: DvdError) -> None:
    """Failure mode 23: what follows from the request itself is answered once."""
    fakes = visions(2)
    fakes[0].encode_outcomes[b"a"] = [error]
    assert await failure(request(1), *fakes) is error
    assert fakes[0].journal == ["encode a vision-0"]


@in_virtual_time
async def test_a_picture_that_cannot_be_decoded_is_named_and_not_tried_again() -> None:
    fakes = visions(2)
    fakes[0].encode_outcomes[b"a"] = [InvalidImageError("The picture is damaged or truncated.")]
    error = await failure(request(1), *fakes)
    assert isinstance(error, InvalidImageError)
    assert (error.field, error.message) == ("image 0", "The picture is damaged or truncated.")
    assert fakes[0].journal == ["encode a vision-0"]


@in_virtual_time
async def test_features_that_are_gone_are_encoded_again_and_keep_their_mask() -> None:
    (fake,) = visions(1)
    fake.scores[b"a"] = (0.1, 0.9)
    fake.push_outcomes[b"a"] = [GONE]
    (resolution,) = await deliver(request(2), fake)
    assert [mask for mask, _ in fake.pushed[b"a"]] == [resolution.compressed] * 2
    assert [place.attempt for _, place in fake.pushed[b"a"]] == [0, 1]
    assert [line.split()[0] for line in fake.journal] == [
        *("encode", "encoded", "push", "encode", "encoded", "push", "pushed"),
    ]


@in_virtual_time
async def test_features_that_are_gone_are_best_encoded_by_who_is_least_busy() -> None:
    fakes = visions(2)
    fakes[0].push_outcomes[b"a"] = [GONE]
    async with delivery(request(1), *fakes) as work:
        await make_busy(fakes[1])
        await work.deliver()
    assert fakes[1].pushed == {}
    assert len(fakes[0].pushed[b"a"]) == 2


@in_virtual_time
async def test_a_push_that_loses_its_replica_is_made_by_another() -> None:
    """Failure mode 2, after send or before ACK: encoded elsewhere, with the same mask."""
    fakes = visions(2)
    fakes[0].scores[b"a"], fakes[1].scores[b"a"] = (0.1, 0.9), (0.9, 0.1)
    fakes[0].push_outcomes[b"a"] = [LOST]
    async with delivery(request(2), *fakes) as work:
        await make_busy(fakes[1])
        (resolution,) = await work.deliver()
    assert resolution.compressed == (False, True)
    assert [mask for mask, _ in fakes[1].pushed[b"a"]] == [(False, True)]


@in_virtual_time
async def test_a_push_that_does_not_get_through_is_made_again_by_who_keeps_the_features() -> None:
    fakes = visions(2)
    fakes[0].push_outcomes[b"a"] = [STRANDED]
    await deliver(request(1), *fakes)
    assert fakes[0].journal == [
        *("encode a vision-0", "encoded a vision-0"),
        *("push a vision-0", "push a vision-0", "pushed a vision-0"),
    ]


@in_virtual_time
async def test_a_vision_replica_that_cannot_reach_the_language_replica_is_passed_by() -> None:
    fakes = visions(2)
    fakes[0].push_outcomes[b"a"] = [STRANDED, STRANDED]
    await deliver(request(1), *fakes)
    assert fakes[1].pushed.keys() == {b"a"}


@pytest.mark.parametrize("error", [LOST, GONE, STRANDED])
@in_virtual_time
async def test_a_push_that_always_fails_makes_the_request_unavailable(error: DvdError) -> None:
    (fake,) = visions(1)
    fake.push_outcomes[b"a"] = [error] * 9
    raised = await failure(request(1), fake)
    assert isinstance(raised, UnavailableError)
    assert raised.message == error.message
    assert len(fake.pushed[b"a"]) == 1 + MAX_FAILURES


@in_virtual_time
async def test_a_taken_slot_is_a_delivered_picture() -> None:
    (fake,) = visions(1)
    fake.push_outcomes[b"a"] = [LOST, SlotTakenError("The picture has already arrived.")]
    (resolution,) = await deliver(request(1), fake)
    assert resolution.compressed == (False,)
    assert len(fake.pushed[b"a"]) == 2


@in_virtual_time
async def test_a_refused_embedding_fails_the_request() -> None:
    (fake,) = visions(1)
    fake.push_outcomes[b"a"] = [EmbeddingRejectedError("No request waits for this embedding.")]
    assert isinstance(await failure(request(1), fake), EmbeddingRejectedError)
    assert len(fake.pushed[b"a"]) == 1


@in_virtual_time
async def test_past_the_deadline_nothing_is_begun() -> None:
    (fake,) = visions(1)
    expired = Deadline(time.monotonic() - 1)
    async with delivery(request(1), fake, deadline=expired) as work:
        with pytest.raises(DeadlineExpiredError):
            await work.deliver()
    assert fake.journal == []


@pytest.mark.parametrize("scope", ResolutionScope)
@in_virtual_time
async def test_the_first_failure_cancels_the_other_pictures(scope: ResolutionScope) -> None:
    (fake,) = visions(1)
    error = OverloadedError("Full.")
    fake.encode_outcomes = {b"a": [asyncio.Event()], b"b": [error]}
    assert await failure(request(1, 1, scope=scope), fake) is error
    assert fake.journal == ["encode a vision-0", "encode b vision-0"]


@in_virtual_time
async def test_without_a_vision_replica_it_is_unavailable() -> None:
    (fake,) = visions(1)
    async with delivery(request(1), fake) as work:
        await work.visions.update([])
        with pytest.raises(UnavailableError, match=r"No vision replica is ready\."):
            await work.deliver()


@in_virtual_time
async def test_cancelling_gives_all_work_back() -> None:
    (fake,) = visions(1)
    fake.encode_outcomes[b"a"] = [asyncio.Event()]
    async with delivery(request(3), fake) as work:
        task = asyncio.create_task(work.deliver())
        await settle()
        assert placed_work(work.visions) == 3
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@in_virtual_time
async def test_every_stage_adds_its_time() -> None:
    (fake,) = visions(1)
    fake.push_outcomes[b"b"] = [SlotTakenError("The picture has already arrived.")]
    async with delivery(request(1, 1), fake) as work:
        await work.deliver()
        took = work.seconds
    assert (took.queue, took.preprocess, took.vit, took.gate) == (2, 4, 6, 8)
    assert (took.project, took.transfer) == (5, 6)


@in_virtual_time
async def test_of_several_failures_the_first_is_raised_alone() -> None:
    first, second = OverloadedError("First."), MismatchError("Second.")

    async def fail(error: DvdError) -> None:
        raise error

    with pytest.raises(OverloadedError) as caught:
        await run_all([fail(first), fail(second)])
    assert caught.value is first


@in_virtual_time
async def test_results_keep_their_order() -> None:
    async def late(number: int) -> int:
        await pass_time(1 / number)
        return number

    assert await run_all(late(number) for number in (1, 2, 3)) == [1, 2, 3]


@in_virtual_time
async def test_an_answer_that_is_over_took_the_picture_whose_receipt_was_lost() -> None:
    (fake,) = visions(1)
    fake.push_outcomes[b"a"] = [LOST, EmbeddingRejectedError("No request waits.")]
    await deliver(request(1), fake)
    assert len(fake.pushed[b"a"]) == 2
