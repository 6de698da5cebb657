"""The public door: wire in and out, one count for every request, nothing left open."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from common.errors import DeadlineExpiredError, InvalidRequestError, OverloadedError
from common.resolution_rule import ResolutionThresholds
from common.types import ChoiceEnd, FinishReason, ResolutionScope, StopMatch
from protos.dvd.v1 import inference_pb2
from router.answer import (
    AnswerDecided,
    AnswerFinished,
    AppliedResolution,
    StageSeconds,
    TokenLogprob,
    TokenLogprobs,
    TokenUsage,
)
from router.grpc_api import InferenceServicer
from router.language_client import AnswerDelta
from tests.router.front import DELTA, FINISHED, STARTED, FakePipeline, front_door
from tests.router.test_validation import text, user, wire


@dataclass
class Context:
    """A call with so much time left."""

    seconds: float | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    def time_remaining(self) -> float | None:
        return self.seconds

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.metadata


class Door:
    """The servicer, what is behind it, and what it counts."""

    def __init__(self, *script: Any, **settings: Any) -> None:
        self.pipeline = FakePipeline(script) if script else FakePipeline()
        front = front_door(self.pipeline, default_deadline_seconds=50, **settings)
        self.metrics = front.metrics
        self.servicer = InferenceServicer(front)

    def generate(self, request: Any = None, seconds: float | None = None) -> Any:
        return self.servicer.Generate(request or user(text()), Context(seconds))

    def counts(self) -> dict[tuple[str, str], float]:
        """Requests by status and finish reason."""
        return {
            (sample.labels["status"], sample.labels["finish_reason"]): sample.value
            for metric in self.metrics.requests.collect()
            for sample in metric.samples
            if sample.name == "dvd_requests_total"
        }

    def num_first_tokens(self) -> float | None:
        return self.metrics.registry.get_sample_value("dvd_time_to_first_token_seconds_count")


async def test_every_event_crosses_the_wire_whole() -> None:
    started, delta, finished = [event async for event in Door().generate()]
    assert started.started == inference_pb2.GenerateStarted(
        request_id="r1", model="tiny", seed=5, image_tiles=[3, 1]
    )
    assert delta.delta == inference_pb2.GenerateDelta(token_ids=[1, 2], text="ab")
    assert finished.finished.finish_reason == inference_pb2.FINISH_REASON_LENGTH
    assert finished.finished.images[0] == inference_pb2.ImageResolution(
        columns=2,
        rows=1,
        has_thumbnail=True,
        scores=[0.25, 0.5, 1.0],
        compressed=[False, True, True],
        orientation=1,
    )


async def test_choices_stops_and_logprobs_cross_the_wire() -> None:
    token = TokenLogprob(4, "a", -0.5)
    stop = StopMatch(text="###")
    ends = (ChoiceEnd(FinishReason.STOP, 3, stop), ChoiceEnd(FinishReason.LENGTH, 2))
    delta = AnswerDelta((4,), "a", (TokenLogprobs(token, (token,)),), 1)
    script = (delta, replace(FINISHED, stop=stop, choices=ends))
    told, finished = [event async for event in Door(*script).generate()]
    wire = inference_pb2.TokenLogprob(token_id=4, text="a", logprob=-0.5)
    assert told.delta == inference_pb2.GenerateDelta(
        token_ids=[4],
        text="a",
        logprobs=[inference_pb2.TokenLogprobs(chosen=wire, top=[wire])],
        choice=1,
    )
    assert finished.finished.stop.text == "###"
    assert list(finished.finished.choices) == [
        inference_pb2.ChoiceEnd(
            finish_reason=inference_pb2.FINISH_REASON_STOP,
            stop=finished.finished.stop,
            completion_tokens=3,
        ),
        inference_pb2.ChoiceEnd(
            finish_reason=inference_pb2.FINISH_REASON_LENGTH, completion_tokens=2
        ),
    ]


async def test_usage_and_timings_cross_the_wire_whole() -> None:
    *_, finished = [event async for event in Door().generate()]
    assert finished.finished.usage == inference_pb2.Usage(
        text_tokens=1,
        visual_tokens=2,
        visual_tokens_before_resolution=3,
        tiles=4,
        compressed_tiles=5,
        completion_tokens=6,
        cached_tokens=7,
    )
    assert finished.finished.timings == inference_pb2.StageTimings(
        queue_seconds=0.5,
        preprocess_seconds=1.5,
        vit_seconds=2.5,
        gate_seconds=3.5,
        project_seconds=4.5,
        transfer_seconds=5.5,
        prefill_seconds=6.5,
        decode_seconds=7.5,
        time_to_first_token_seconds=8.5,
        total_seconds=9.5,
    )


@pytest.mark.parametrize(("seconds", "expected"), [(None, 50), (7.0, 7)])
async def test_the_deadline_is_the_clients_or_the_default(
    seconds: float | None, expected: float
) -> None:
    door = Door()
    [event async for event in door.generate(seconds=seconds)]
    ((_, deadline),) = door.pipeline.asked
    assert deadline.remaining() == pytest.approx(expected, abs=3)


async def test_past_its_deadline_a_request_is_not_looked_at() -> None:
    door = Door()
    with pytest.raises(DeadlineExpiredError):
        await anext(door.generate(seconds=0.0))
    assert door.pipeline.asked == []
    assert door.counts() == {("DEADLINE_EXCEEDED", ""): 1}


async def test_what_is_not_valid_goes_no_further() -> None:
    door = Door()
    with pytest.raises(InvalidRequestError):
        await anext(door.generate(wire(request_id="\n")))
    assert door.pipeline.asked == []
    assert door.counts() == {("INVALID_ARGUMENT", ""): 1}


async def test_an_answer_is_counted_once() -> None:
    door = Door()
    [event async for event in door.generate()]
    assert door.counts() == {("OK", "length"): 1}
    assert door.num_first_tokens() == 1


async def test_a_failure_is_counted_by_its_code() -> None:
    door = Door(STARTED, OverloadedError("Full."))
    with pytest.raises(OverloadedError):
        [event async for event in door.generate()]
    assert door.counts() == {("RESOURCE_EXHAUSTED", ""): 1}
    assert door.num_first_tokens() == 0


async def test_a_bug_is_counted_too() -> None:
    door = Door(STARTED, KeyError("surprise"))
    with pytest.raises(KeyError):
        [event async for event in door.generate()]
    assert door.counts() == {("INTERNAL", ""): 1}


@pytest.mark.parametrize("num_events", [1, 2])
async def test_a_client_that_goes_away_is_counted_and_leaves_nothing_open(num_events: int) -> None:
    door = Door(STARTED, DELTA, asyncio.Event())
    answer = door.generate()
    for _ in range(num_events):
        await anext(answer)
    assert door.pipeline.num_open == 1
    await answer.aclose()
    assert door.pipeline.num_open == 0
    assert door.counts() == {("CANCELLED", ""): 1}


async def test_an_answer_without_a_token_has_no_first_token() -> None:
    finished = AnswerFinished(
        FinishReason.STOP, TokenUsage(1, 0, 0, 0, 0, 0, 0), StageSeconds(total=1.0)
    )
    door = Door(STARTED, finished)
    [event async for event in door.generate()]
    assert door.counts() == {("OK", "stop"): 1}
    assert door.num_first_tokens() == 0


async def test_the_rule_that_was_applied_is_told_and_load_is_counted() -> None:
    rule = AppliedResolution(ResolutionScope.IMAGE, ResolutionThresholds(0.25, 0.5), True)
    door = Door(STARTED, replace(FINISHED, resolution=rule))
    *_, finished = [event async for event in door.generate()]
    assert finished.finished.resolution == inference_pb2.AppliedResolution(
        scope=inference_pb2.RESOLUTION_SCOPE_IMAGE,
        relative_threshold=0.25,
        absolute_threshold=0.5,
        raised_for_load=True,
    )
    registry = door.metrics.registry
    assert registry.get_sample_value("dvd_requests_raised_for_load_total") == 1


async def test_without_a_gate_no_rule_is_told() -> None:
    door = Door()
    *_, finished = [event async for event in door.generate()]
    assert not finished.finished.HasField("resolution")
    registry = door.metrics.registry
    assert registry.get_sample_value("dvd_requests_raised_for_load_total") == 0


async def test_the_model_and_its_bounds_are_told() -> None:
    answer = await Door().servicer.GetModel(inference_pb2.GetModelRequest(), Context())
    assert (answer.model, answer.fingerprint) == ("tiny", "fingerprint")
    assert (answer.max_context_tokens, answer.tile_size) == (400, 112)
    assert answer.max_tiles_per_image == 12
    assert answer.full_tokens_per_tile == 16
    assert not answer.flash


async def test_the_operators_bound_on_tiles_is_told() -> None:
    door = Door(max_tiles_per_image=24)
    answer = await door.servicer.GetModel(inference_pb2.GetModelRequest(), Context())
    assert answer.max_tiles_per_image == 24


async def test_what_is_decided_and_the_end_of_an_answer_are_told() -> None:
    rule = AppliedResolution(ResolutionScope.IMAGE, ResolutionThresholds(0.25, 0.5), True)
    end = AnswerDelta((), "c", choice=1, end=ChoiceEnd(FinishReason.STOP, 3, StopMatch(text="x")))
    script = (STARTED, AnswerDecided(FINISHED.images, rule), end, FINISHED)
    _, decided, last, finished = [event async for event in Door(*script).generate()]
    assert list(decided.decided.images) == list(finished.finished.images)
    assert decided.decided.resolution == inference_pb2.AppliedResolution(
        scope=inference_pb2.RESOLUTION_SCOPE_IMAGE,
        relative_threshold=0.25,
        absolute_threshold=0.5,
        raised_for_load=True,
    )
    assert last.delta.end == inference_pb2.ChoiceEnd(
        finish_reason=inference_pb2.FINISH_REASON_STOP,
        stop=inference_pb2.StopMatch(text="x"),
        completion_tokens=3,
    )


@pytest.mark.parametrize(
    ("metadata", "tenant"),
    [((), ""), ((("user-agent", "me"), ("x-dvd-tenant", "acme")), "acme")],
)
async def test_the_metadata_says_on_whose_behalf(
    metadata: tuple[tuple[str, str], ...], tenant: str
) -> None:
    door = Door()
    call = door.servicer.Generate(user(text()), Context(metadata=metadata))
    assert [event async for event in call]
    assert door.pipeline.asked[0][0].tenant == tenant


@pytest.mark.parametrize("name", ["x" * 129, "two\nlines"])
async def test_what_cannot_be_a_tenant_is_refused_by_its_header(name: str) -> None:
    door = Door()
    call = door.servicer.Generate(user(text()), Context(metadata=(("x-dvd-tenant", name),)))
    with pytest.raises(InvalidRequestError) as caught:
        await anext(call)
    assert caught.value.field == "x-dvd-tenant"
    assert not door.pipeline.asked


async def test_who_is_refused_anyway_is_not_looked_at() -> None:
    door = Door()
    door.pipeline.refusal = OverloadedError("Full.")
    senseless = inference_pb2.GenerateRequest(priority=7)
    call = door.servicer.Generate(senseless, Context(5.0, (("x-dvd-tenant", "acme"),)))
    with pytest.raises(OverloadedError):
        await anext(call)
    (standing,) = door.pipeline.checked
    assert (standing.tenant, standing.priority) == ("acme", 7)
    assert standing.seconds_left == pytest.approx(5.0, abs=0.5)
