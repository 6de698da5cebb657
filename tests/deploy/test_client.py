"""The client of the command line: its requests, and answers from a router that misbehaves."""

from pathlib import Path
from typing import Any

import pytest

from common.errors import InvalidRequestError, UnavailableError
from deploy.client import Answer, InferenceClient, ask_about
from protos.dvd.v1 import inference_pb2, inference_pb2_grpc
from tests.loopback import serving

ADD = inference_pb2_grpc.add_InferenceServiceServicer_to_server
Response = inference_pb2.GenerateResponse
STARTED = Response(started=inference_pb2.GenerateStarted(request_id="r1"))
FINISHED = Response(
    finished=inference_pb2.GenerateFinished(finish_reason=inference_pb2.FINISH_REASON_STOP)
)


def delta(text: str, *token_ids: int) -> Response:
    return Response(delta=inference_pb2.GenerateDelta(token_ids=token_ids, text=text))


class Router(inference_pb2_grpc.InferenceServiceServicer):
    """Answers every request with one script, or the first ones with scripts of their own."""

    def __init__(self, *script: Any) -> None:
        self.script = script
        self.scripts: list[tuple[Any, ...]] = []
        self.asked: list[inference_pb2.GenerateRequest] = []

    async def GetModel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return inference_pb2.GetModelResponse(model="tiny")

    async def Generate(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        self.asked.append(request)
        for event in self.scripts.pop(0) if self.scripts else self.script:
            if isinstance(event, Exception):
                raise event
            yield event


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three picture files of one byte each."""
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path in paths:
        path.write_bytes(path.stem.encode())
    return paths


def parts_of(request: inference_pb2.GenerateRequest) -> list[str]:
    """Parts in order; pictures by their bytes in angle brackets."""
    (message,) = request.messages
    assert message.role == inference_pb2.ROLE_USER
    return [
        part.text if part.WhichOneof("part") == "text" else f"<{part.image.data.decode()}>"
        for part in message.parts
    ]


def test_a_question_alone() -> None:
    assert parts_of(ask_about([], "Why?")) == ["Why?"]


def test_one_picture_comes_before_the_question(files: list[Path]) -> None:
    assert parts_of(ask_about(files[:1], "What?")) == ["<a>", "What?"]


def test_several_pictures_are_announced_one_by_one(files: list[Path]) -> None:
    assert parts_of(ask_about(files, "Which?")) == [
        *("Image-1: ", "<a>", "Image-2: ", "<b>", "Image-3: ", "<c>"),
        "Which?",
    ]


def test_it_asks_greedily_and_leaves_the_rest_to_the_server() -> None:
    request = ask_about([], "Why?")
    assert request.sampling.temperature == 0
    assert request.sampling.HasField("temperature")
    assert not request.sampling.HasField("max_tokens")
    assert not request.sampling.HasField("seed")
    assert not request.HasField("resolution_scope")


def test_limit_and_scope_are_passed_on() -> None:
    request = ask_about([], "Why?", 7, inference_pb2.RESOLUTION_SCOPE_OFF)
    assert request.sampling.max_tokens == 7
    assert request.resolution_scope == inference_pb2.RESOLUTION_SCOPE_OFF


async def test_a_whole_answer_is_put_together() -> None:
    script = (STARTED, delta("Hel", 1, 2), delta("", 3), delta("lo", 4), FINISHED)
    async with serving(ADD, Router(*script)) as loopback:
        client = InferenceClient(loopback.address)
        answer = await client.answer(ask_about([], "Hello?"))
        await client.close()
    assert answer == Answer("Hello", (1, 2, 3, 4), FINISHED.finished)


async def test_a_stream_shows_every_event() -> None:
    script = [STARTED, delta("a", 1), FINISHED]
    async with serving(ADD, Router(*script)) as loopback:
        client = InferenceClient(loopback.address)
        assert [event async for event in client.stream(ask_about([], "Hello?"))] == script
        await client.close()


async def test_an_error_mid_answer_is_raised() -> None:
    error = InvalidRequestError("Too long.", "messages")
    async with serving(ADD, Router(STARTED, delta("a", 1), error)) as loopback:
        client = InferenceClient(loopback.address)
        with pytest.raises(InvalidRequestError, match="Too long"):
            await client.answer(ask_about([], "Hello?"))
        await client.close()


async def test_an_answer_that_just_stops_is_no_answer() -> None:
    """Failure mode 4 at the client."""
    async with serving(ADD, Router(STARTED, delta("a", 1))) as loopback:
        client = InferenceClient(loopback.address)
        with pytest.raises(UnavailableError):
            await client.answer(ask_about([], "Hello?"))
        await client.close()


async def test_it_asks_what_is_served() -> None:
    async with serving(ADD, Router()) as loopback:
        client = InferenceClient(loopback.address)
        assert (await client.model()).model == "tiny"
        await client.close()


async def test_without_a_router_it_is_unavailable() -> None:
    async with serving(ADD, Router()) as loopback:
        await loopback.server.stop(0)
        client = InferenceClient(loopback.address)
        with pytest.raises(UnavailableError):
            await client.model()
        await client.close()


async def test_a_router_that_is_not_there_is_passed_by() -> None:
    async with serving(ADD, Router()) as gone, serving(ADD, Router(STARTED, FINISHED)) as there:
        await gone.server.stop(0)
        client = InferenceClient(gone.address, there.address)
        assert (await client.model()).model == "tiny"
        assert (await client.answer(ask_about([], "Hello?"))).finished == FINISHED.finished
        await client.close()


async def test_an_answer_whose_router_is_lost_goes_on_at_the_next() -> None:
    """Failure mode 27 at the client: one stream, nothing twice, nothing missing."""
    lost = Router(STARTED, delta("a", 1), UnavailableError("Lost."))
    rest = Router(STARTED, delta("b", 2), FINISHED)
    async with serving(ADD, lost) as first, serving(ADD, rest) as second:
        client = InferenceClient(first.address, second.address)
        events = [event async for event in client.stream(ask_about([], "Hello?"))]
        await client.close()
    assert events == [STARTED, delta("a", 1), delta("b", 2), FINISHED]
    (request,) = rest.asked
    assert request.request_id == "r1"
    assert [list(each.token_ids) for each in request.continue_from.answers] == [[1]]


async def test_a_router_that_comes_back_goes_on_itself() -> None:
    router = Router()
    router.scripts = [
        (STARTED, delta("a", 1), UnavailableError("Stopping.")),
        (STARTED, delta("b", 2), FINISHED),
    ]
    async with serving(ADD, router) as loopback:
        client = InferenceClient(loopback.address)
        answer = await client.answer(ask_about([], "Hello?"))
        await client.close()
    assert (answer.text, answer.token_ids) == ("ab", (1, 2))


async def test_what_follows_from_the_request_is_asked_of_one_router() -> None:
    refusing, other = Router(STARTED, InvalidRequestError("No.")), Router(STARTED, FINISHED)
    async with serving(ADD, refusing) as first, serving(ADD, other) as second:
        client = InferenceClient(first.address, second.address)
        with pytest.raises(InvalidRequestError):
            await client.answer(ask_about([], "Hello?"))
        await client.close()
    assert other.asked == []


async def test_several_routers_that_are_all_lost_at_once_are_asked_again() -> None:
    router = Router(STARTED, FINISHED)
    router.scripts = [(UnavailableError("Starting."),)] * 3
    async with serving(ADD, router) as loopback:
        client = InferenceClient(loopback.address, loopback.address)
        assert (await client.answer(ask_about([], "Hello?"))).finished == FINISHED.finished
        await client.close()
    assert len(router.asked) == 4
