"""A language replica is lost at every place of an answer, and its client sees one answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from common.errors import (
    CancelledRequestError,
    DeadlineExpiredError,
    DvdError,
    EmbeddingRejectedError,
    InvalidRequestError,
    MismatchError,
    OverloadedError,
    StrandedError,
    UnreachableError,
)
from common.resolution_rule import ResolutionThresholds
from common.types import AnswerSoFar, ChoiceEnd, FinishReason, ResolutionScope
from router.admission import Admission, AdmissionBounds
from router.answer import (
    AnswerDecided,
    AnswerFinished,
    AnswerStarted,
    AppliedResolution,
    ImageResolution,
)
from router.attempts import MAX_FAILURES
from router.deadline import Deadline
from router.known_resolutions import KnownResolution
from router.language_client import AnswerDelta
from router.pipeline import AnswerEvent, Pipeline
from router.replica_health import HealthState
from router.replica_pool import ReplicaPool
from router.requests import ContinueFrom, RequestCost, ValidRequest
from router.score_memory import ScoreMemory
from tests.fakes import in_virtual_time, settle
from tests.router.fakes import (
    DELTAS,
    END,
    FINGERPRINT,
    FakeLanguage,
    FakeVision,
    address,
    pool_of,
    request,
)
from tests.router.test_pipeline import FLASH

LOST = UnreachableError("A replica cannot be reached.")
LAST = AnswerDelta((), "", end=ChoiceEnd(FinishReason.STOP, 2))
STRANDED = StrandedError("The language replica cannot be reached.")
WHOLE = (*DELTAS, LAST)
RULE = AppliedResolution(ResolutionScope.REQUEST, ResolutionThresholds(0.1, 0.2), True)


@dataclass
class Cluster:
    """A pipeline over two language and two vision replicas."""

    pipeline: Pipeline
    visions: list[FakeVision]
    languages: list[FakeLanguage]
    language_pool: ReplicaPool[FakeLanguage]
    journal: list[str]

    async def answer(self, wanted: ValidRequest) -> list[AnswerEvent]:
        async with aclosing(self.pipeline.answer(wanted, Deadline.after(600))) as events:
            return [event async for event in events]

    async def failure(self, wanted: ValidRequest) -> DvdError:
        with pytest.raises(DvdError) as caught:
            await self.answer(wanted)
        return caught.value


@asynccontextmanager
async def cluster(num_languages: int = 2) -> AsyncIterator[Cluster]:
    """Afterwards nothing may be held."""
    journal: list[str] = []
    visions = [FakeVision(address(f"vision-{index}"), journal) for index in range(2)]
    languages = [
        FakeLanguage(address(f"language-{index}"), journal) for index in range(num_languages)
    ]
    admission = Admission(AdmissionBounds(2, RequestCost(100, 100, 1000), 1.0))
    async with pool_of(*visions) as vision_pool, pool_of(*languages) as language_pool:
        pipeline = Pipeline(
            FLASH, admission, vision_pool, language_pool, FINGERPRINT, ScoreMemory(8)
        )
        yield Cluster(pipeline, visions, languages, language_pool, journal)
        assert admission.requests == 0
        for pool in (vision_pool, language_pool):
            assert all(replica.placed_work == 0 for replica in pool._replicas.values())
        assert journal.count("open") == journal.count("cancel")


def deltas(events: Sequence[AnswerEvent]) -> tuple[AnswerDelta, ...]:
    return tuple(event for event in events if isinstance(event, AnswerDelta))


@pytest.mark.parametrize("cut", range(4))
@pytest.mark.parametrize("error", [LOST, CancelledRequestError("The request was cancelled.")])
@in_virtual_time
async def test_a_lost_answer_goes_on_behind_what_the_client_has(cut: int, error: DvdError) -> None:
    """Failure mode 3: before the first token, mid stream, at the last one, and behind the end."""
    async with cluster() as made:
        made.languages[0].scripts = [(*WHOLE[:cut], error)]
        made.languages[1].script = (*WHOLE[cut:], END)
        started, decided, *_, finished = events = await made.answer(request(2))
        assert isinstance(started, AnswerStarted)
        assert isinstance(decided, AnswerDecided)
        assert isinstance(finished, AnswerFinished)
        assert len(events) == 3 + len(WHOLE)
        assert deltas(events) == WHOLE
        (first,), (second,) = (language.orders for language in made.languages)
    delivered = tuple(token for delta in WHOLE[:cut] for token in delta.token_ids)
    end = LAST.end if cut == 3 else None
    assert first.answers == ()
    assert second.answers == ((AnswerSoFar(delivered, end),) if cut else ())
    assert second.known == (KnownResolution((0.5, 0.5), (False, False)),)
    assert (first.name, second.name.split("\n")[0]) == ("r1", "r1")
    assert second.name != "r1"
    assert second.request.sampling == first.request.sampling


@in_virtual_time
async def test_pictures_are_sent_again_without_another_vision_pass() -> None:
    async with cluster() as made:
        made.languages[0].scripts = [(DELTAS[0], LOST)]
        made.languages[1].script = (DELTAS[1], LAST, END)
        await made.answer(request(2, 1))
        pushed = [
            push for fake in made.visions for pushes in fake.pushed.values() for push in pushes
        ]
        second = made.languages[1].orders[0].name
    assert sum(line.startswith("encode ") for line in made.journal) == 2
    assert sorted((place.address, place.request_id, place.attempt) for _, place in pushed) == [
        *[("language-0:1", "r1", 0)] * 2,
        *[("language-1:1", second, 0)] * 2,
    ]


@in_virtual_time
async def test_pictures_that_the_next_replica_knows_are_not_sent() -> None:
    async with cluster() as made:
        made.languages[0].scripts = [(DELTAS[0], LOST)]
        made.languages[1].script = (DELTAS[1], LAST, END)
        made.languages[1].held = frozenset({0})
        *_, finished = await made.answer(request(2))
        assert isinstance(finished, AnswerFinished)
        assert finished.usage.tiles == 2
    assert sum(line.startswith("push ") for line in made.journal) == 1


@in_virtual_time
async def test_a_replica_lost_before_it_accepts_is_replaced() -> None:
    async with cluster() as made:
        made.languages[0].accept_outcome = LOST
        events = await made.answer(request(1))
        assert deltas(events) == DELTAS
    assert made.journal[:3] == ["open", "cancel", "open"]


@in_virtual_time
async def test_a_replica_lost_while_its_pictures_are_encoded_is_replaced() -> None:
    async with cluster() as made:
        never = asyncio.Event()
        made.visions[0].encode_outcomes[b"a"] = [never]
        made.languages[0].scripts = [(LOST,)]
        answer = made.pipeline.answer(request(1), Deadline.after(600))
        assert isinstance(await anext(answer), AnswerStarted)
        following = asyncio.create_task(anext(answer))
        await settle()
        made.languages[0].streams[0].end.set()
        assert isinstance(await following, AnswerDecided)
        assert len(made.languages[1].orders) == 1
        await answer.aclose()


@in_virtual_time
async def test_a_replica_that_no_picture_gets_through_to_is_replaced() -> None:
    async with cluster() as made:
        for fake in made.visions:
            fake.push_outcomes[b"a"] = [STRANDED] * (1 + MAX_FAILURES)
        assert deltas(await made.answer(request(1))) == DELTAS
        assert len(made.languages[1].orders) == 1


@in_virtual_time
async def test_a_lost_vision_stage_is_not_blamed_on_the_language_replica() -> None:
    async with cluster() as made:
        for fake in made.visions:
            fake.encode_outcomes[b"a"] = [LOST] * 9
        assert await made.failure(request(1)) is LOST
        states = {replica.state for replica in made.language_pool.replicas}
    assert made.journal.count("open") == 1
    assert states == {HealthState.UP}


@in_virtual_time
async def test_a_picture_refused_because_the_request_is_gone_is_no_fault_of_the_request() -> None:
    async with cluster() as made:
        made.visions[0].push_outcomes[b"a"] = [EmbeddingRejectedError("No request waits.")]
        made.languages[0].scripts = [(LOST,)]
        answer = made.pipeline.answer(request(1), Deadline.after(600))
        assert isinstance(await anext(answer), AnswerStarted)
        following = asyncio.create_task(anext(answer))
        await settle()
        made.languages[0].streams[0].end.set()
        assert isinstance(await following, AnswerDecided)
        await answer.aclose()


@in_virtual_time
async def test_a_replica_that_refuses_for_want_of_room_is_passed_by() -> None:
    async with cluster() as made:
        made.languages[0].accept_outcome = OverloadedError("Full.", 2.0)
        assert deltas(await made.answer(request())) == DELTAS


@in_virtual_time
async def test_where_all_refuse_for_want_of_room_the_client_is_told() -> None:
    async with cluster() as made:
        for language in made.languages:
            language.accept_outcome = OverloadedError("Full.", 2.0)
        error = await made.failure(request())
        assert error is made.languages[1].accept_outcome
    assert made.journal.count("open") == 2


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("Too long.", "messages"),
        MismatchError("Fingerprint differs."),
        DeadlineExpiredError("The deadline passed."),
        DvdError("The model computed a value that is not finite."),
    ],
)
@in_virtual_time
async def test_what_follows_from_the_request_is_answered_once(error: DvdError) -> None:
    """Failure mode 23 at the language stage."""
    async with cluster() as made:
        made.languages[0].scripts = [(DELTAS[0], error)]
        assert await made.failure(request()) is error
    assert made.journal.count("open") == 1


@in_virtual_time
async def test_a_request_that_breaks_replicas_breaks_only_so_many() -> None:
    async with cluster(num_languages=8) as made:
        for language in made.languages:
            language.script = (LOST,)
        assert await made.failure(request()) is LOST
    assert made.journal.count("open") == 1 + MAX_FAILURES


@in_virtual_time
async def test_with_one_replica_it_is_tried_again_there() -> None:
    async with cluster(num_languages=1) as made:
        made.languages[0].scripts = [(DELTAS[0], LOST)]
        made.languages[0].script = (DELTAS[1], LAST, END)
        assert deltas(await made.answer(request())) == WHOLE


@in_virtual_time
async def test_where_none_is_left_it_waits_for_one_to_come_back() -> None:
    async with cluster(num_languages=1) as made:
        made.languages[0].scripts = [(DELTAS[0], LOST)]
        made.languages[0].script = (DELTAS[1], LAST, END)
        answer = made.pipeline.answer(request(), Deadline.after(600))
        assert isinstance(await anext(answer), AnswerStarted)
        assert await anext(answer) == DELTAS[0]
        made.languages[0].reports.put_nowait(LOST)
        made.languages[0].reports.put_nowait(0)
        assert [event async for event in answer][:2] == [DELTAS[1], LAST]


@in_virtual_time
async def test_the_deadline_bounds_all_attempts_together() -> None:
    async with cluster(num_languages=1) as made:
        made.languages[0].script = (LOST,)
        with pytest.raises(DeadlineExpiredError):
            [event async for event in made.pipeline.answer(request(), Deadline.after(1e-9))]


@in_virtual_time
async def test_several_answers_go_on_each_from_its_own_place() -> None:
    end = ChoiceEnd(FinishReason.LENGTH, 1)
    before = (AnswerDelta((1,), "a", choice=1, end=end), AnswerDelta((2,), "b", choice=0))
    async with cluster() as made:
        made.languages[0].scripts = [(*before, LOST)]
        made.languages[1].script = (AnswerDelta((3,), "c"), END)
        wanted = request()
        wanted = replace(wanted, sampling=replace(wanted.sampling, num_choices=2))
        await made.answer(wanted)
        (order,) = made.languages[1].orders
    assert order.answers == (AnswerSoFar((2,)), AnswerSoFar((1,), end))


def continued() -> ValidRequest:
    """A request whose router was lost after one token."""
    wanted = request(2)
    images = (ImageResolution(wanted.images[0].grid, (0.3, 0.7), (True, False)),)
    so_far = ContinueFrom((AnswerSoFar((1,)),), AnswerDecided(images, RULE))
    return replace(wanted, continue_from=so_far)


@in_virtual_time
async def test_a_request_from_another_router_goes_on() -> None:
    """Failure mode 27: the masks are those that were told, whatever the scores are here."""
    async with cluster() as made:
        made.languages[0].script = (DELTAS[1], LAST, END)
        events = await made.answer(continued())
        (order,) = made.languages[0].orders
        (pushes,) = [fake.pushed[b"a"] for fake in made.visions if fake.pushed]
    started, *_, finished = events
    assert isinstance(started, AnswerStarted)
    assert deltas(events) == (DELTAS[1], LAST)
    assert isinstance(finished, AnswerFinished)
    assert finished.resolution == RULE
    assert finished.images[0].compressed == pushes[0][0] == (True, False)
    assert order.answers == (AnswerSoFar((1,)),)
    assert order.known == (KnownResolution((0.3, 0.7), (True, False)),)
    assert order.name != "r1"


@in_virtual_time
async def test_the_time_of_lost_attempts_counts() -> None:
    async with cluster() as made:
        made.languages[0].scripts = [(DELTAS[0], LOST)]
        made.languages[1].script = (DELTAS[1], LAST, END)
        *_, finished = await made.answer(request())
        assert isinstance(finished, AnswerFinished)
    took = finished.seconds
    assert took.queue == 2 * 7.0 + END.queue_seconds
    assert took.prefill == END.prefill_seconds
    assert took.decode > END.decode_seconds
    assert 0 < took.time_to_first_token < took.total
