"""Calls to a language replica: wire types in and out, and a client that was closed."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.errors import DvdError, OverloadedError, UnavailableError
from common.sampling_wire import read_answer, write_choice
from common.tiling import TileGrid
from common.types import (
    AnswerSoFar,
    ChoiceEnd,
    FinishReason,
    ReplicaAddress,
    ReplicaRole,
    ResolutionScope,
    Role,
    SamplingRequest,
    StopMatch,
)
from protos.dvd.v1 import inference_pb2, language_pb2, language_pb2_grpc, replica_pb2
from router.answer import TokenLogprob, TokenLogprobs
from router.known_resolutions import KnownResolution
from router.language_client import (
    Acceptance,
    AnswerDelta,
    AnswerEnd,
    AnswerOrder,
    LanguageClient,
)
from router.requests import RequestCost, ValidImage, ValidRequest
from tests.fakes import turn
from tests.loopback import serving
from tests.router.fakes import OPTIONS

ADD = language_pb2_grpc.add_LanguageServiceServicer_to_server
Response = language_pb2.LanguageServiceGenerateResponse
IMAGES = (
    ValidImage(b"file 0", b"key 0", TileGrid(1, 1, False), "messages[1].parts[0]", OPTIONS),
    ValidImage(b"file 1", b"key 1", TileGrid(2, 1, True), "messages[1].parts[0]", OPTIONS),
)
REQUEST = ValidRequest(
    request_id="r1",
    messages=(
        PromptMessage(Role.SYSTEM, (TextPart("Be brief."),)),
        PromptMessage(Role.USER, (ImageGroupPart((0, 1)), TextPart("Compare."))),
    ),
    images=IMAGES,
    sampling=SamplingRequest(seed=2**63 - 1, temperature=0.0),
    scope=ResolutionScope.REQUEST,
    thresholds=None,
    cost=RequestCost(0, 0, 0),
)
ORDER = AnswerOrder(REQUEST, "r1", known=(None, None))
ACCEPTED = Response(accepted=language_pb2.GenerateAccepted(needed_images=[0], queue_seconds=0.5))
DELTA = Response(delta=inference_pb2.GenerateDelta(token_ids=[4, 5], text="ab"))
FINISHED = Response(
    finished=language_pb2.LanguageFinished(
        finish_reason=inference_pb2.FINISH_REASON_LENGTH,
        text_tokens=1,
        visual_tokens=2,
        completion_tokens=3,
        cached_tokens=7,
        queue_seconds=4,
        prefill_seconds=5,
        decode_seconds=6,
    )
)


@dataclass
class Language(language_pb2_grpc.LanguageServiceServicer):
    """Sends a script, then fails or waits where told to."""

    script: tuple[Any, ...] = ()
    error: DvdError | None = None
    waits: bool = False
    asked: list[Any] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        info = replica_pb2.ServerInfo(hidden_size=24)
        return language_pb2.LanguageServiceGetServerInfoResponse(info=info)

    async def WatchLoad(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        for work in (1, 2):
            load = replica_pb2.LoadReport(outstanding_work=work)
            yield language_pb2.LanguageServiceWatchLoadResponse(load=load)

    async def Generate(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        self.asked.append(request)
        try:
            for response in self.script:
                yield response
            if self.waits:
                await asyncio.Event().wait()
            if self.error is not None:
                raise self.error
        finally:
            self.left.set()


def client_of(address: str) -> LanguageClient:
    place = ReplicaAddress("l", ReplicaRole.LANGUAGE, "i", address, "", "f")
    return LanguageClient(place, 1 << 20)


async def test_an_answer_is_followed_to_its_end() -> None:
    async with serving(ADD, Language((ACCEPTED, DELTA, FINISHED))) as loopback:
        client = client_of(loopback.address)
        stream = client.open(ORDER, "fingerprint", 20)
        assert await stream.accepted() == Acceptance((0,), 0.5)
        events = [event async for event in stream.events()]
        await stream.ended()
        await client.close()
    assert events == [
        AnswerDelta((4, 5), "ab"),
        AnswerEnd(FinishReason.LENGTH, 1, 2, 3, 7, 4, 5, 6),
    ]


async def test_choices_stops_and_logprobs_are_read() -> None:
    wire = inference_pb2.TokenLogprob(token_id=4, text="a", logprob=-0.5)
    delta = inference_pb2.GenerateDelta(
        token_ids=[4], logprobs=[inference_pb2.TokenLogprobs(chosen=wire, top=[wire])], choice=2
    )
    stop = inference_pb2.StopMatch(token_id=9)
    ends = [
        inference_pb2.ChoiceEnd(
            finish_reason=inference_pb2.FINISH_REASON_STOP, stop=stop, completion_tokens=3
        ),
        inference_pb2.ChoiceEnd(finish_reason=inference_pb2.FINISH_REASON_LENGTH),
    ]
    finished = language_pb2.LanguageFinished(
        finish_reason=inference_pb2.FINISH_REASON_STOP, stop=stop, choices=ends
    )
    script = (ACCEPTED, Response(delta=delta), Response(finished=finished))
    async with serving(ADD, Language(script)) as loopback:
        client = client_of(loopback.address)
        stream = client.open(ORDER, "fingerprint", 20)
        await stream.accepted()
        read, end = [event async for event in stream.events()]
        await client.close()
    token = TokenLogprob(4, "a", -0.5)
    assert read == AnswerDelta((4,), "", (TokenLogprobs(token, (token,)),), 2)
    assert isinstance(end, AnswerEnd)
    assert end.stop == StopMatch(token_id=9)
    assert end.choices == (
        ChoiceEnd(FinishReason.STOP, 3, StopMatch(token_id=9)),
        ChoiceEnd(FinishReason.LENGTH, 0),
    )


async def test_the_request_names_its_pictures_by_key_and_tile_count() -> None:
    language = Language((ACCEPTED,))
    async with serving(ADD, language) as loopback:
        client = client_of(loopback.address)
        await client.open(ORDER, "fingerprint", 20).accepted()
        await client.close()
    (wire,) = language.asked
    assert (wire.request_id, wire.model_fingerprint) == ("r1", "fingerprint")
    assert [message.role for message in wire.messages] == [
        inference_pb2.ROLE_SYSTEM,
        inference_pb2.ROLE_USER,
    ]
    group, question = wire.messages[1].parts
    assert [(i.image_key, i.num_tiles) for i in group.image_group.images] == [
        (b"key 0", 1),
        (b"key 1", 3),
    ]
    assert question.text == "Compare."


async def test_what_a_client_left_open_stays_open_and_the_seed_is_set() -> None:
    language = Language((ACCEPTED,))
    async with serving(ADD, language) as loopback:
        client = client_of(loopback.address)
        await client.open(ORDER, "fingerprint", 20).accepted()
        await client.close()
    sampling = language.asked[0].sampling
    assert not sampling.HasField("max_tokens")
    assert sampling.HasField("temperature")
    assert sampling.seed == 2**63 - 1


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [((), UnavailableError, "ended without accepting"), ((DELTA,), DvdError, "Internal error")],
)
async def test_a_replica_that_does_not_accept_first_is_at_fault(
    script: tuple[Any, ...], error: type[DvdError], words: str
) -> None:
    async with serving(ADD, Language(script)) as loopback:
        client = client_of(loopback.address)
        with pytest.raises(error, match=words):
            await client.open(ORDER, "fingerprint", 20).accepted()
        await client.close()


async def test_a_refusal_is_told() -> None:
    async with serving(ADD, Language(error=OverloadedError("Full.", 3.0))) as loopback:
        client = client_of(loopback.address)
        with pytest.raises(OverloadedError, match="Full"):
            await client.open(ORDER, "fingerprint", 20).accepted()
        await client.close()


async def test_cancelling_reaches_the_replica() -> None:
    language = Language((ACCEPTED,), waits=True)
    async with serving(ADD, language) as loopback:
        client = client_of(loopback.address)
        stream = client.open(ORDER, "fingerprint", 20)
        await stream.accepted()
        stream.cancel()
        await asyncio.wait_for(language.left.wait(), 5)
        await stream.ended()
        await client.close()


async def test_closing_the_client_under_an_answer_is_a_lost_replica() -> None:
    async with serving(ADD, Language((ACCEPTED,), waits=True)) as loopback:
        client = client_of(loopback.address)
        stream = client.open(ORDER, "fingerprint", 20)
        await stream.accepted()
        following = asyncio.create_task(anext(stream.events()))
        await turn()
        await client.close()
        with pytest.raises(UnavailableError):
            await following


async def test_no_answer_begins_on_a_closed_client() -> None:
    async with serving(ADD, Language()) as loopback:
        client = client_of(loopback.address)
        await client.close()
        with pytest.raises(UnavailableError):
            client.open(ORDER, "fingerprint", 20)


async def test_it_tells_what_is_served_and_how_busy() -> None:
    async with serving(ADD, Language()) as loopback:
        client = client_of(loopback.address)
        assert (await client.server_info(10)).hidden_size == 24
        assert [load.outstanding_work async for load in client.watch_load()] == [1, 2]
        await client.close()


async def test_what_is_decided_and_urgent_is_told() -> None:
    language = Language((ACCEPTED,))
    known = (KnownResolution((0.5,), (True,)), None)
    async with serving(ADD, language) as loopback:
        client = client_of(loopback.address)
        urgent = replace(REQUEST, priority=7)
        await client.open(AnswerOrder(urgent, "r1", known), "fingerprint", 20).accepted()
        await client.close()
    (wire,) = language.asked
    first, second = wire.messages[1].parts[0].image_group.images
    assert list(first.resolution.compressed) == [True]
    assert (first.HasField("resolution"), second.HasField("resolution")) == (True, False)
    assert wire.priority == 7


async def test_what_the_client_has_is_told_under_the_name_of_the_attempt() -> None:
    end = ChoiceEnd(FinishReason.STOP, 1, StopMatch(text="x"))
    answers = (AnswerSoFar((3,), end), AnswerSoFar((4, 5)))
    language = Language((ACCEPTED,))
    async with serving(ADD, language) as loopback:
        client = client_of(loopback.address)
        order = AnswerOrder(REQUEST, "r1 again", (None, None), answers)
        await client.open(order, "fingerprint", 20).accepted()
        await client.close()
    (wire,) = language.asked
    assert wire.request_id == "r1 again"
    assert tuple(map(read_answer, wire.continue_from)) == answers


async def test_the_end_of_an_answer_comes_with_its_last_delta() -> None:
    end = ChoiceEnd(FinishReason.LENGTH, 2)
    delta = inference_pb2.GenerateDelta(text="b", end=write_choice(end))
    async with serving(ADD, Language((ACCEPTED, Response(delta=delta)))) as loopback:
        client = client_of(loopback.address)
        stream = client.open(ORDER, "fingerprint", 20)
        await stream.accepted()
        assert [event async for event in stream.events()] == [AnswerDelta((), "b", end=end)]
        await client.close()
