"""The life of a request: the order of its stages, and everything given back at every ending."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from common.config import OverloadConfig
from common.errors import (
    DeadlineExpiredError,
    DvdError,
    InvalidRequestError,
    OverloadedError,
    UnavailableError,
)
from common.model_config import ModelConfig
from common.resolution_rule import ResolutionThresholds
from common.types import FinishReason, ResolutionScope
from router.admission import Admission, AdmissionBounds
from router.answer import (
    AnswerDecided,
    AnswerFinished,
    AnswerStarted,
    AppliedResolution,
    TokenUsage,
)
from router.attempts import MAX_FAILURES
from router.deadline import Deadline
from router.known_resolutions import KnownResolution
from router.pipeline import AnswerEvent, Pipeline
from router.replica_pool import ReplicaPool
from router.requests import RequestCost, ValidRequest
from router.score_memory import ScoreMemory
from tests.fakes import in_virtual_time, settle, turn
from tests.router.fakes import (
    DELTAS,
    END,
    FINGERPRINT,
    THRESHOLDS,
    FakeLanguage,
    FakeVision,
    address,
    pool_of,
    request,
)
from tests.router.test_validation import MODEL, TOKENS_PER_TILE

FLASH = replace(MODEL, thresholds=THRESHOLDS)
BOUNDS = AdmissionBounds(2, RequestCost(100, 100, 1000), retry_after_seconds=1.0)
LOST = UnavailableError("A replica cannot be reached.")


@dataclass
class Parts:
    """A pipeline and everything that it talks to."""

    pipeline: Pipeline
    admission: Admission
    vision: FakeVision
    language: FakeLanguage
    visions: ReplicaPool[FakeVision]
    languages: ReplicaPool[FakeLanguage]
    journal: list[str]

    def answer(
        self, wanted: ValidRequest, deadline: Deadline | None = None
    ) -> AsyncIterator[AnswerEvent]:
        return self.pipeline.answer(wanted, deadline or Deadline.after(600))

    def assert_nothing_is_held(self) -> None:
        held = self.admission
        assert (held.requests, held.tiles, held.tokens, held.image_bytes) == (0, 0, 0, 0)
        for pool in (self.visions, self.languages):
            assert all(replica.placed_work == 0 for replica in pool._replicas.values())
        assert self.journal.count("open") == self.journal.count("cancel")


@asynccontextmanager
async def parts(
    model: ModelConfig = FLASH, overload: OverloadConfig | None = None
) -> AsyncIterator[Parts]:
    """One replica of each role; afterwards nothing may be held."""
    journal: list[str] = []
    vision = FakeVision(address("vision-0"), journal)
    language = FakeLanguage(address("language-0"), journal)
    admission = Admission(BOUNDS)
    async with pool_of(vision) as visions, pool_of(language) as languages:
        pipeline = Pipeline(
            model, admission, visions, languages, FINGERPRINT, ScoreMemory(8), overload
        )
        made = Parts(pipeline, admission, vision, language, visions, languages, journal)
        yield made
        made.assert_nothing_is_held()


async def failure(made: Parts, wanted: ValidRequest, deadline: Deadline | None = None) -> DvdError:
    with pytest.raises(DvdError) as caught:
        [event async for event in made.answer(wanted, deadline)]
    return caught.value


@in_virtual_time
async def test_the_stages_come_in_order() -> None:
    async with parts() as made:
        [event async for event in made.answer(request(1, 1))]
    assert made.journal == [
        "open",
        "accepted",
        *("encode a vision-0", "encoded a vision-0", "encode b vision-0", "encoded b vision-0"),
        *("push a vision-0", "pushed a vision-0", "push b vision-0", "pushed b vision-0"),
        *("event", "event", "event"),
        "cancel",
    ]


@in_virtual_time
async def test_an_answer_is_started_decided_deltas_finished() -> None:
    async with parts() as made:
        started, decided, *deltas, finished = [e async for e in made.answer(request(3, 2))]
    assert started == AnswerStarted("r1", seed=5, image_tiles=(3, 2))
    assert decided == AnswerDecided(finished.images, finished.resolution)
    assert tuple(deltas) == DELTAS
    assert isinstance(finished, AnswerFinished)
    assert finished.finish_reason is FinishReason.STOP


@in_virtual_time
async def test_usage_counts_tokens_and_tiles_before_and_after() -> None:
    async with parts() as made:
        made.vision.scores[b"a"] = (0.1, 0.2, 0.9)
        *_, finished = [event async for event in made.answer(request(3))]
    assert finished.usage == TokenUsage(
        text_tokens=END.text_tokens,
        visual_tokens=END.visual_tokens,
        visual_tokens_before_resolution=3 * TOKENS_PER_TILE,
        tiles=3,
        compressed_tiles=1,
        completion_tokens=END.completion_tokens,
        cached_tokens=END.cached_tokens,
    )
    assert finished.images[0].compressed == (False, False, True)


@in_virtual_time
async def test_under_load_more_is_compressed_and_it_is_told() -> None:
    overload = OverloadConfig(above_load=0.7, relative_threshold=0.0)
    async with parts(overload=overload) as made:
        made.vision.scores[b"a"] = (0.5, 0.6, 0.7, 0.8)
        *_, alone = [event async for event in made.answer(request(4))]
        with made.admission.admit(RequestCost(1, 1, 1)):
            *_, crowded = [event async for event in made.answer(request(4))]
    assert alone.images[0].compressed == (False, False, True, True)
    assert alone.resolution == AppliedResolution(ResolutionScope.REQUEST, THRESHOLDS, False)
    assert crowded.images[0].compressed == (False, True, True, True)
    raised = ResolutionThresholds(0.0, THRESHOLDS.absolute)
    assert crowded.resolution == AppliedResolution(ResolutionScope.REQUEST, raised, True)


@in_virtual_time
async def test_without_a_gate_load_changes_nothing() -> None:
    async with parts(overload=OverloadConfig(above_load=0.0, relative_threshold=0.0)) as made:
        *_, finished = [event async for event in made.answer(request(2, thresholds=None))]
    assert finished.images[0].compressed == (False, False)
    assert finished.resolution is None


@in_virtual_time
async def test_a_picture_seen_before_is_named_with_its_resolution_and_not_encoded() -> None:
    async with parts() as made:
        made.vision.scores[b"a"] = (0.1, 0.9)
        *_, first = [event async for event in made.answer(request(2))]
        made.language.held = frozenset({0})
        before = list(made.vision.pushed[b"a"])
        *_, again = [event async for event in made.answer(request(2))]
        assert made.vision.pushed[b"a"] == before
    assert made.journal.count("encode a vision-0") == 1
    assert [order.known for order in made.language.orders] == [
        (None,),
        (KnownResolution((0.1, 0.9), (False, True)),),
    ]
    assert again.images == first.images


@in_virtual_time
async def test_the_time_of_every_stage_is_told() -> None:
    async with parts() as made:
        *_, finished = [event async for event in made.answer(request(1))]
    took = finished.seconds
    assert took.queue == 7.0 + 1.0 + END.queue_seconds
    assert (took.preprocess, took.vit, took.gate, took.project, took.transfer) == (2, 3, 4, 5, 6)
    assert (took.prefill, took.decode) == (END.prefill_seconds, END.decode_seconds)
    assert 0 < took.time_to_first_token <= took.total


@in_virtual_time
async def test_text_alone_needs_no_vision_replica() -> None:
    async with parts() as made:
        await made.visions.update([])
        *_, finished = [event async for event in made.answer(request())]
    assert (finished.usage.tiles, finished.images) == (0, ())
    assert "accepted" in made.journal


@in_virtual_time
async def test_what_is_held_is_counted_while_it_is_held() -> None:
    async with parts() as made:
        made.vision.encode_outcomes[b"a"] = [asyncio.Event()]
        answer = made.answer(request(3))
        await anext(answer)
        held = made.admission
        assert (held.requests, held.tiles, held.tokens, held.image_bytes) == (1, 3, 10, 100)
        assert made.languages._replicas["language-0"].placed_work == 3 * TOKENS_PER_TILE + 8
        await answer.aclose()


@in_virtual_time
async def test_beyond_the_bounds_nothing_is_begun() -> None:
    async with parts() as made:
        running = [made.answer(request()), made.answer(request())]
        for answer in running:
            await anext(answer)
        before = list(made.journal)
        assert isinstance(await failure(made, request()), OverloadedError)
        assert made.journal == before
        for answer in running:
            await answer.aclose()


@in_virtual_time
async def test_without_a_language_replica_it_is_unavailable() -> None:
    async with parts() as made:
        await made.languages.update([])
        error = await failure(made, request(1))
    assert (type(error), error.message) == (UnavailableError, "No language replica is ready.")
    assert made.journal == []


@in_virtual_time
async def test_a_refusal_of_the_language_replica_is_passed_on_before_any_encoding() -> None:
    async with parts() as made:
        made.language.accept_outcome = InvalidRequestError("The prompt is too long.", "messages")
        assert await failure(made, request(1)) is made.language.accept_outcome
    assert made.journal == ["open", "cancel"]


@in_virtual_time
async def test_a_picture_that_fails_ends_the_request() -> None:
    async with parts() as made:
        made.vision.encode_outcomes[b"a"] = [OverloadedError("Full.")]
        assert isinstance(await failure(made, request(1)), OverloadedError)
    assert made.journal[-1] == "cancel"


@in_virtual_time
async def test_a_language_replica_that_fails_again_and_again_ends_the_request() -> None:
    async with parts() as made:
        made.language.script = (LOST,)
        assert await failure(made, request(1)) is LOST
    assert made.journal.count("open") == 1 + MAX_FAILURES


@in_virtual_time
async def test_an_answer_that_just_stops_is_no_answer() -> None:
    """Failure mode 4: an answer ends with its end, or with an error."""
    async with parts() as made:
        made.language.script = DELTAS
        error = await failure(made, request(1))
    assert (type(error), error.message) == (
        UnavailableError,
        "The language replica ended without finishing the answer.",
    )


@pytest.mark.parametrize("scope", [ResolutionScope.REQUEST, ResolutionScope.IMAGE])
@in_virtual_time
async def test_when_the_language_replica_fails_early_its_error_counts(
    scope: ResolutionScope,
) -> None:
    error = DvdError("The model computed a value that is not finite.")
    async with parts() as made:
        made.vision.encode_outcomes[b"a"] = [asyncio.Event()]
        made.language.script = (error,)
        task = asyncio.create_task(failure(made, request(1, scope=scope)))
        await settle()
        made.language.streams[0].end.set()
        assert await task is error


@in_virtual_time
async def test_when_the_language_replica_ends_early_without_error_it_is_lost() -> None:
    async with parts() as made:
        made.vision.encode_outcomes[b"a"] = [asyncio.Event()]
        made.language.scripts = [()]
        answer = made.answer(request(1))
        await anext(answer)
        following = asyncio.create_task(anext(answer))
        await settle()
        made.language.streams[0].end.set()
        assert isinstance(await following, AnswerDecided)
        assert made.journal.count("open") == 2
        await answer.aclose()


@in_virtual_time
async def test_a_replica_that_answers_before_its_pictures_are_all_sent_is_not_at_fault() -> None:
    async with parts() as made:
        made.language.script = (END,)
        made.vision.push_outcomes[b"a"] = [asyncio.Event()]
        answer = made.answer(request(1))
        await anext(answer)
        following = asyncio.create_task(anext(answer))
        await settle()
        assert not following.done()
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following


@pytest.mark.parametrize("stage", ["accept", "encode", "push", "event"])
@in_virtual_time
async def test_cancelling_at_any_stage_gives_everything_back(stage: str) -> None:
    never = asyncio.Event()
    async with parts() as made:
        made.language.accept_outcome = never if stage == "accept" else None
        made.vision.encode_outcomes[b"a"] = [never] if stage == "encode" else []
        made.vision.push_outcomes[b"a"] = [never] if stage == "push" else []
        made.language.script = (never,) if stage == "event" else (END,)
        answer = made.answer(request(1))
        await anext(answer)
        if stage == "event":
            await anext(answer)
        following = asyncio.create_task(anext(answer))
        await settle()
        assert not following.done()
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        made.assert_nothing_is_held()


@pytest.mark.parametrize("num_events", [1, 2, 3])
@in_virtual_time
async def test_a_client_that_goes_away_gives_everything_back(num_events: int) -> None:
    async with parts() as made:
        answer = made.answer(request(1))
        for _ in range(num_events):
            await anext(answer)
        await answer.aclose()
        made.assert_nothing_is_held()


@in_virtual_time
async def test_past_the_deadline_nothing_is_opened() -> None:
    async with parts() as made:
        error = await failure(made, request(1), Deadline(time.monotonic() - 1))
    assert isinstance(error, DeadlineExpiredError)
    assert made.journal == []


@in_virtual_time
async def test_a_cancellation_is_not_lost_between_delivery_and_answer() -> None:
    async with parts() as made:
        answer = made.answer(request())
        await anext(answer)
        following = asyncio.create_task(anext(answer))

        class CancelsItsCaller(asyncio.Event):
            async def wait(self) -> bool:
                try:
                    return await super().wait()
                finally:
                    following.cancel()

        await turn()
        made.language.streams[0].end = CancelsItsCaller()
        with pytest.raises(asyncio.CancelledError):
            await following


@in_virtual_time
async def test_vision_never_encodes_what_language_has_not_accepted() -> None:
    async with parts() as made:
        made.language.accept_outcome = asyncio.Event()
        answer = made.answer(request(2, 1))
        await anext(answer)
        waiting = asyncio.create_task(anext(answer))
        await settle()
        assert made.journal == ["open"]
        made.language.accept_outcome.set()
        await waiting
        await answer.aclose()
    assert made.journal[1:3] == ["accepted", "encode a vision-0"]


@in_virtual_time
async def test_what_language_refuses_is_never_encoded() -> None:
    async with parts() as made:
        made.language.accept_outcome = OverloadedError("Full.", retry_after_seconds=3.0)
        error = await failure(made, request(2, 1))
    assert isinstance(error, OverloadedError)
    assert error.retry_after_seconds == 3.0
    assert not any(line.startswith("encode") for line in made.journal)


@in_virtual_time
async def test_tenant_priority_and_deadline_count_at_the_door() -> None:
    async with parts() as made:
        first = made.answer(replace(request(), tenant="a"))
        await anext(first)
        second = made.answer(replace(request(), tenant="b"))
        await anext(second)
        await first.aclose()
        error = await failure(made, replace(request(), tenant="b"))
        assert error.message == "The tenant's share is used up; try again later."
        await second.aclose()
