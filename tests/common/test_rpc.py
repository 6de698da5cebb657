"""Servers and channels over a real connection: errors, streams, health, reflection."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from common.errors import (
    ConfigError,
    DeadlineExpiredError,
    DvdError,
    InvalidRequestError,
    SlotTakenError,
    UnavailableError,
)
from common.rpc import (
    MAX_MESSAGE_BYTES,
    RpcServer,
    call,
    each,
    open_channel,
    remaining_seconds,
)
from common.work_gate import WorkGate
from protos.dvd.v1 import (
    embedding_pb2,
    language_pb2_grpc,
    vision_pb2,
    vision_pb2_grpc,
)
from tests.fakes import until
from tests.loopback import HOST, Loopback, serving

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ADD_VISION = vision_pb2_grpc.add_VisionServiceServicer_to_server
ADD_LANGUAGE = language_pb2_grpc.add_LanguageServiceServicer_to_server
SERVICE = "dvd.v1.VisionService"


@dataclass
class Vision(vision_pb2_grpc.VisionServiceServicer):
    """Answers, waits or fails, as a test wants."""

    error: Exception | None = None
    waits: bool = False
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    remaining: float | None = None

    async def Encode(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        self.remaining = remaining_seconds(context)
        await self._end()
        return vision_pb2.EncodeResponse(num_tiles=7)

    async def WatchLoad(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        try:
            yield vision_pb2.VisionServiceWatchLoadResponse()
            await self._end()
        finally:
            self.left.set()

    async def _end(self) -> None:
        self.entered.set()
        if self.waits:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


class Endless(vision_pb2_grpc.VisionServiceServicer):
    """Streams without ever waiting for anything but the connection."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def WatchLoad(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        try:
            while True:
                yield vision_pb2.VisionServiceWatchLoadResponse()
        finally:
            self.left.set()


class Echo(language_pb2_grpc.LanguageServiceServicer):
    """Gives credit for every chunk; refuses an empty one."""

    async def PutEmbeddings(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        async for message in request:
            size = len(message.chunk.inline)
            if not size:
                raise SlotTakenError("Empty.")
            yield embedding_pb2.PutEmbeddingsResponse(
                credit=embedding_pb2.EmbeddingCredit(limit_bytes=size)
            )


def stub_of(loopback: Loopback) -> Any:
    return vision_pb2_grpc.VisionServiceStub(loopback.channel)


def encode(loopback: Loopback, timeout: float | None = 10) -> Any:
    return call(stub_of(loopback).Encode(vision_pb2.EncodeRequest(), timeout=timeout))


def watch(loopback: Loopback) -> Any:
    return stub_of(loopback).WatchLoad(vision_pb2.VisionServiceWatchLoadRequest())


def health(loopback: Loopback) -> Any:
    return health_pb2_grpc.HealthStub(loopback.channel)


async def chunks(*payloads: bytes) -> AsyncIterator[Any]:
    for payload in payloads:
        yield embedding_pb2.PutEmbeddingsRequest(chunk=embedding_pb2.EmbeddingChunk(inline=payload))


async def test_a_call_is_answered() -> None:
    async with serving(ADD_VISION, Vision()) as loopback:
        assert (await encode(loopback)).num_tiles == 7


@pytest.mark.parametrize("error", [ValueError("/secret/path"), KeyError("token")])
async def test_an_unexpected_error_says_nothing_of_itself(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(ADD_VISION, Vision(error)) as loopback:
        with pytest.raises(DvdError) as unary:
            await encode(loopback)
        with pytest.raises(DvdError) as stream:
            [response async for response in each(watch(loopback))]
    for caught in (unary.value, stream.value):
        assert type(caught) is DvdError
        assert caught.message == "Internal error."
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error, error]


async def test_a_stream_delivers_and_then_fails_with_its_own_error() -> None:
    async with serving(ADD_VISION, Vision(InvalidRequestError("Late.", "parts"))) as loopback:
        responses = each(watch(loopback))
        assert await anext(responses) == vision_pb2.VisionServiceWatchLoadResponse()
        with pytest.raises(InvalidRequestError, match="Late") as caught:
            await anext(responses)
    assert caught.value.field == "parts"


async def test_a_stream_ends() -> None:
    async with serving(ADD_VISION, Vision()) as loopback:
        assert len([response async for response in each(watch(loopback))]) == 1


async def test_a_stream_goes_both_ways() -> None:
    async with serving(ADD_LANGUAGE, Echo()) as loopback:
        stub = language_pb2_grpc.LanguageServiceStub(loopback.channel)
        answers = [a async for a in each(stub.PutEmbeddings(chunks(b"abc", b"de")))]
        with pytest.raises(SlotTakenError):
            [a async for a in each(stub.PutEmbeddings(chunks(b"abc", b"")))]
    assert [answer.credit.limit_bytes for answer in answers] == [3, 2]


async def test_a_method_that_is_not_there_is_an_internal_error() -> None:
    async with serving(ADD_LANGUAGE, Echo()) as loopback:
        with pytest.raises(DvdError, match=r"Internal error\."):
            await encode(loopback)


async def test_the_servicer_knows_the_time_left() -> None:
    vision = Vision()
    async with serving(ADD_VISION, vision) as loopback:
        await encode(loopback, timeout=20)
        assert vision.remaining == pytest.approx(20, abs=5)
        await encode(loopback, timeout=None)
        assert vision.remaining is None


async def test_a_deadline_that_passes_is_told() -> None:
    async with serving(ADD_VISION, Vision(waits=True)) as loopback:
        with pytest.raises(DeadlineExpiredError, match="The deadline passed"):
            await encode(loopback, timeout=0.05)


async def test_no_work_is_begun_past_the_deadline() -> None:
    class Late:
        def time_remaining(self) -> float:
            return 0.0

    with pytest.raises(DeadlineExpiredError):
        remaining_seconds(Late())


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with serving(ADD_VISION, Vision()) as loopback:
        await loopback.server.stop(0)
        with pytest.raises(UnavailableError, match="A replica cannot be reached"):
            await encode(loopback)


async def test_a_server_that_is_away_is_looked_for_at_short_intervals() -> None:
    looked: list[object] = []

    def slam(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        looked.append(writer)
        writer.transport.abort()

    away = await asyncio.start_server(slam, HOST, 0)
    channel = open_channel(f"{HOST}:{away.sockets[0].getsockname()[1]}")
    # As gRPC comes, the fourth look would be more than five seconds after the first.
    async with asyncio.timeout(2.5):
        await until(lambda: (channel.get_state(try_to_connect=True), len(looked) >= 4)[1])
    await channel.close()
    away.close()


async def test_a_client_that_cancels_closes_a_waiting_servicer() -> None:
    vision = Vision(waits=True)
    async with serving(ADD_VISION, vision) as loopback:
        stream = watch(loopback)
        await anext(each(stream))
        await vision.entered.wait()
        stream.cancel()
        await asyncio.wait_for(vision.left.wait(), 5)


async def test_a_client_that_cancels_closes_a_sending_servicer() -> None:
    endless = Endless()
    async with serving(ADD_VISION, endless) as loopback:
        stream = watch(loopback)
        await anext(each(stream))
        stream.cancel()
        await asyncio.wait_for(endless.left.wait(), 5)


async def test_closing_the_channel_under_a_call_is_a_lost_peer() -> None:
    vision = Vision(waits=True)
    async with serving(ADD_VISION, vision) as loopback:
        pending = asyncio.create_task(encode(loopback))
        await vision.entered.wait()
        await loopback.channel.close()
        with pytest.raises(UnavailableError):
            await pending


async def test_closing_the_channel_under_a_stream_is_a_lost_peer() -> None:
    vision = Vision(waits=True)
    async with serving(ADD_VISION, vision) as loopback:
        responses = each(watch(loopback))
        await anext(responses)
        following = asyncio.create_task(anext(responses))
        await vision.entered.wait()
        await loopback.channel.close()
        with pytest.raises(UnavailableError):
            await following


async def test_a_cancelled_caller_is_cancelled_and_nothing_else() -> None:
    vision = Vision(waits=True)
    async with serving(ADD_VISION, vision) as loopback:
        pending = asyncio.create_task(encode(loopback))
        await vision.entered.wait()
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending


@pytest.mark.parametrize("service", ["", SERVICE, "grpc.health.v1.Health"])
async def test_a_started_server_is_healthy(service: str) -> None:
    async with serving(ADD_VISION, Vision()) as loopback:
        request = health_pb2.HealthCheckRequest(service=service)
        assert (await health(loopback).Check(request)).status == SERVING


async def test_an_unknown_service_has_no_health() -> None:
    async with serving(ADD_VISION, Vision()) as loopback:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(loopback).Check(health_pb2.HealthCheckRequest(service="dvd.v1.Other"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_a_stopping_server_says_so_while_it_drains(service: str) -> None:
    vision = Vision(waits=True)
    async with serving(ADD_VISION, vision, WorkGate(begins={"WatchLoad"})) as loopback:
        stub = vision_pb2_grpc.VisionServiceStub(loopback.channel)
        work = stub.WatchLoad(vision_pb2.VisionServiceWatchLoadRequest())
        await vision.entered.wait()
        watched = health(loopback).Watch(health_pb2.HealthCheckRequest(service=service))
        assert (await watched.read()).status == SERVING
        stopping = asyncio.create_task(loopback.server.stop(30))
        assert (await watched.read()).status == NOT_SERVING
        assert not stopping.done()
        work.cancel()
        await asyncio.wait_for(stopping, 5)


async def test_mode_26_a_stopping_server_takes_what_its_work_needs_and_no_new_work() -> None:
    vision = Vision(waits=True)
    gate = WorkGate(begins={"WatchLoad"})
    async with serving(ADD_VISION, vision, gate) as loopback:
        stub = vision_pb2_grpc.VisionServiceStub(loopback.channel)
        work = stub.WatchLoad(vision_pb2.VisionServiceWatchLoadRequest())
        await vision.entered.wait()
        stopping = asyncio.create_task(loopback.server.stop(30))
        with pytest.raises(UnavailableError, match="takes no new work"):
            await anext(each(stub.WatchLoad(vision_pb2.VisionServiceWatchLoadRequest())))
        vision.waits = False
        await call(stub.Encode(vision_pb2.EncodeRequest()))
        assert not stopping.done()
        work.cancel()
        await asyncio.wait_for(stopping, 5)


async def test_mode_26_what_does_not_end_in_the_grace_is_cut() -> None:
    vision = Vision(waits=True)
    async with serving(ADD_VISION, vision, WorkGate(begins={"WatchLoad"})) as loopback:
        stub = vision_pb2_grpc.VisionServiceStub(loopback.channel)
        work = each(stub.WatchLoad(vision_pb2.VisionServiceWatchLoadRequest()))
        await anext(work)
        await loopback.server.stop(0.01)
        with pytest.raises(UnavailableError):
            await anext(work)


async def test_a_second_stop_is_harmless() -> None:
    async with serving(ADD_VISION, Vision()) as loopback:
        await loopback.server.stop(0)
        await loopback.server.stop(30)


async def test_reflection_lists_the_services() -> None:
    async with serving(ADD_VISION, Vision()) as loopback:
        stub = reflection_pb2_grpc.ServerReflectionStub(loopback.channel)
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = [answer async for answer in stub.ServerReflectionInfo(iter([ask]))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert names == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_a_port_in_use_is_a_configuration_error() -> None:
    async with serving(ADD_VISION, Vision()) as loopback:
        with pytest.raises(ConfigError, match=f"Cannot listen on {loopback.address}"):
            await RpcServer().start(loopback.address, [])


async def test_stopping_a_server_that_never_started_is_harmless() -> None:
    await RpcServer().stop(0)


async def test_a_message_above_the_bound_of_the_server_is_the_requests_fault() -> None:
    async with serving(ADD_LANGUAGE, Echo()) as loopback:
        channel = open_channel(loopback.address, 2 * MAX_MESSAGE_BYTES)
        stub = language_pb2_grpc.LanguageServiceStub(channel)
        with pytest.raises(InvalidRequestError, match="The request is too large"):
            [a async for a in each(stub.PutEmbeddings(chunks(bytes(MAX_MESSAGE_BYTES))))]
        await channel.close()


async def test_a_port_is_taken_where_none_is_given() -> None:
    server = RpcServer()
    assert await server.start(f"{HOST}:0", []) > 0
    await server.stop(0)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PING, GOAWAY, ACK, HEADER_BYTES = 6, 7, 1, 9


def http2_frame(kind: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 for the whole connection, without flags."""
    return len(payload).to_bytes(3, "big") + bytes((kind, 0)) + bytes(4) + payload


async def test_keepalive_pings_that_come_late_and_close_together_break_no_connection() -> None:
    """On a host without time to spare, pings queue up; what streams on must not be cut for it."""
    async with serving(ADD_VISION, Vision()) as loopback:
        reader, writer = await asyncio.open_connection(HOST, loopback.address.split(":")[1])
        writer.write(PREFACE + http2_frame(4, b""))
        for number in range(10):
            writer.write(http2_frame(PING, number.to_bytes(8, "big")))
            kind = flags = 0
            while (kind, flags) != (PING, ACK):
                header = await reader.readexactly(HEADER_BYTES)
                await reader.readexactly(int.from_bytes(header[:3], "big"))
                kind, flags = header[3], header[4]
                assert kind != GOAWAY
        writer.close()
