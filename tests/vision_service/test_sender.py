"""Embeddings on their way: manifest first, chunks within the credit, the commit last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from common.errors import (
    DeadlineExpiredError,
    DvdError,
    EmbeddingRejectedError,
    MismatchError,
    SlotTakenError,
    UnavailableError,
)
from common.tensor_codec import checksum
from protos.dvd.v1 import embedding_pb2, language_pb2_grpc
from tests.fakes import turn, until
from tests.loopback import serving
from vision_service.language_peers import LanguagePeers, PutEmbeddings
from vision_service.sender import EmbeddingSender, Transfer

ADD = language_pb2_grpc.add_LanguageServiceServicer_to_server
CHUNK_BYTES = 40
PAYLOAD = bytes(range(96))
MANIFEST = embedding_pb2.EmbeddingManifest(
    slot=embedding_pb2.EmbeddingSlot(request_id="r1"), tile_tokens=[4, 1, 1], num_bytes=96
)
SPANS = [(0, 40), (40, 40), (80, 16)]


def credit(limit_bytes: int) -> embedding_pb2.PutEmbeddingsResponse:
    given = embedding_pb2.EmbeddingCredit(limit_bytes=limit_bytes)
    return embedding_pb2.PutEmbeddingsResponse(credit=given)


COMMITTED = embedding_pb2.PutEmbeddingsResponse(
    committed=embedding_pb2.EmbeddingCommitted(num_bytes=96)
)


@dataclass
class Receiver(language_pb2_grpc.LanguageServiceServicer):
    """Gives credit step by step and keeps what it gets.

    Attributes:
        credits: Limits, each given once all that the last one allowed has arrived.
        error: Raised after so many chunks of a stream as `error_after` says.
        num_bad: Streams that get the error; the later ones do not.
        ends_early: Ends the stream instead of committing.
        waits: Never gives any credit.
    """

    credits: list[int] = field(default_factory=lambda: [96])
    error: DvdError | None = None
    error_after: int = 0
    num_bad: int = 99
    ends_early: bool = False
    waits: bool = False
    manifests: list[Any] = field(default_factory=list)
    chunks: list[Any] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def PutEmbeddings(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        try:
            async for response in self._answer(request):
                yield response
        finally:
            self.left.set()

    async def _answer(self, request: Any) -> AsyncIterator[Any]:
        self.manifests.append((await anext(aiter(request))).manifest)
        if self.waits:
            await asyncio.Event().wait()
        self._fail_after(0)
        limits = iter(self.credits)
        limit = next(limits)
        yield credit(limit)
        before = len(self.chunks)
        async for message in request:
            self.chunks.append(message.chunk)
            self._fail_after(len(self.chunks) - before)
            end = message.chunk.byte_offset + len(message.chunk.inline)
            assert end <= limit
            if end + CHUNK_BYTES > limit and (limit := next(limits, limit)) > end:
                yield credit(limit)
        if not self.ends_early:
            yield COMMITTED

    def _fail_after(self, num_chunks: int) -> None:
        is_bad = len(self.manifests) <= self.num_bad
        if self.error is not None and is_bad and num_chunks == self.error_after:
            raise self.error


@dataclass
class Stingy(Receiver):
    """Gives credit for one chunk at a time, and notes the chunks that do not wait for it."""

    num_early: int = 0

    async def _answer(self, request: Any) -> AsyncIterator[Any]:
        messages = aiter(request)
        await anext(messages)
        following = asyncio.ensure_future(anext(messages, None))
        for offset, length in SPANS:
            for _ in range(100):
                await turn()
            self.num_early += following.done()
            yield credit(offset + length)
            self.chunks.append((await following).chunk)
            following = asyncio.ensure_future(anext(messages, None))
        assert await following is None
        yield COMMITTED


@dataclass
class Slow(Receiver):
    """Breaks its first stream late, and gives no credit on the second."""

    left_seconds: list[float] = field(default_factory=list)

    async def PutEmbeddings(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        self.left_seconds.append(context.time_remaining())
        if len(self.left_seconds) == 1:
            await until(lambda: context.time_remaining() < 0.7)
            raise LOST
        self.waits = True
        async for response in self._answer(request):
            yield response


class Generous(language_pb2_grpc.LanguageServiceServicer):
    """Gives credit many times over, takes one chunk and fails."""

    async def PutEmbeddings(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        messages = aiter(request)
        await anext(messages)
        for _ in range(5):
            yield credit(1 << 20)
        await anext(messages)
        raise EmbeddingRejectedError("Damaged.")


async def send(receiver: Receiver, timeout_seconds: float | None = 20) -> Transfer:
    sender = EmbeddingSender(CHUNK_BYTES)
    async with serving(ADD, receiver) as loopback:
        try:
            payload = memoryview(PAYLOAD)
            return await sender.send(loopback.address, MANIFEST, payload, timeout_seconds)
        finally:
            await sender.close()


async def test_everything_arrives_in_order_with_its_checksum() -> None:
    receiver = Receiver()
    transfer = await send(receiver)
    assert receiver.manifests == [MANIFEST]
    assert [(chunk.byte_offset, len(chunk.inline)) for chunk in receiver.chunks] == SPANS
    assert b"".join(chunk.inline for chunk in receiver.chunks) == PAYLOAD
    assert all(chunk.checksum == checksum(chunk.inline) for chunk in receiver.chunks)
    assert transfer.num_bytes == 96
    assert transfer.seconds > 0


@pytest.mark.parametrize("limits", [[40, 80, 96], [50, 96], [79, 80, 96], [1 << 40]])
async def test_credit_may_come_in_any_portions(limits: list[int]) -> None:
    receiver = Receiver(credits=limits)
    await send(receiver)
    assert b"".join(chunk.inline for chunk in receiver.chunks) == PAYLOAD


async def test_nothing_is_sent_beyond_the_credit() -> None:
    receiver = Stingy()
    await send(receiver)
    assert receiver.num_early == 0
    assert b"".join(chunk.inline for chunk in receiver.chunks) == PAYLOAD


@pytest.mark.parametrize(
    "error",
    [
        EmbeddingRejectedError("No request waits for this embedding."),
        MismatchError("Element type differs: a, b."),
        SlotTakenError("The picture has already arrived."),
    ],
)
@pytest.mark.parametrize("error_after", [0, 3])
async def test_a_refusal_of_manifest_or_payload_is_told(error: DvdError, error_after: int) -> None:
    receiver = Receiver(error=error, error_after=error_after)
    with pytest.raises(type(error)) as caught:
        await send(receiver)
    assert caught.value.message == error.message
    assert len(receiver.manifests) == 1


async def test_a_refusal_between_chunks_asks_for_another_try() -> None:
    receiver = Receiver(error=EmbeddingRejectedError("Damaged."), error_after=1)
    with pytest.raises((EmbeddingRejectedError, UnavailableError)):
        await send(receiver)


LOST = UnavailableError("The sender of the embedding was silent.")


@pytest.mark.parametrize("error_after", [0, 1, 2, 3])
async def test_a_broken_stream_is_repeated_whole(error_after: int) -> None:
    receiver = Receiver(error=LOST, error_after=error_after, num_bad=1)
    transfer = await send(receiver)
    assert [each.slot.repeat for each in receiver.manifests] == [0, 1]
    assert b"".join(chunk.inline for chunk in receiver.chunks[error_after:]) == PAYLOAD
    assert transfer.num_bytes == 96


class Breaking(LanguagePeers):
    """Breaks the first stream right when its sender says that all is written."""

    def __init__(self) -> None:
        super().__init__()
        self.num_left = 1

    @asynccontextmanager
    async def lease(self, destination: str) -> AsyncIterator[PutEmbeddings]:
        async with super().lease(destination) as put_embeddings:

            def put(timeout: float | None) -> Any:
                stream = put_embeddings(timeout=timeout)
                return BreakingStream(stream, self) if self.num_left else stream

            yield put  # type: ignore[misc]


class BreakingStream:
    """As gRPC behaves where a connection ends during that very call."""

    def __init__(self, stream: Any, owner: Breaking) -> None:
        self._stream = stream
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def done_writing(self) -> None:
        self._owner.num_left -= 1
        self._stream.cancel()
        raise grpc.aio.InternalError('Failed "execute_batch"')


async def test_a_stream_that_breaks_as_it_ends_is_repeated() -> None:
    receiver, sender = Receiver(), EmbeddingSender(CHUNK_BYTES, Breaking())
    async with serving(ADD, receiver) as loopback:
        transfer = await sender.send(loopback.address, MANIFEST, memoryview(PAYLOAD), 20)
        await sender.close()
    assert [each.slot.repeat for each in receiver.manifests] == [0, 1]
    assert transfer.num_bytes == 96
    assert (sender.streams.broken, sender.streams.committed) == (1, 1)


async def test_a_stream_that_breaks_again_is_given_up() -> None:
    receiver = Receiver(error=LOST)
    with pytest.raises(UnavailableError, match="was silent"):
        await send(receiver)
    assert [each.slot.repeat for each in receiver.manifests] == [0, 1]


async def test_a_repeat_has_the_time_that_is_left() -> None:
    receiver = Slow()
    with pytest.raises(DeadlineExpiredError):
        await send(receiver, timeout_seconds=1.0)
    first, second = receiver.left_seconds
    assert second < 0.8 < first


async def test_a_receiver_that_fails_under_a_sender_with_unread_credit_is_left_at_once() -> None:
    data = bytes(1 << 20)
    opening = embedding_pb2.EmbeddingManifest(tile_tokens=[1], num_bytes=len(data))
    receiver, sender = Generous(), EmbeddingSender(64 << 10)
    async with serving(ADD, receiver) as loopback:
        with pytest.raises((EmbeddingRejectedError, UnavailableError)):
            await sender.send(loopback.address, opening, memoryview(data), 20)
        await sender.close()


async def test_a_stream_that_ends_without_a_commit_is_no_delivery() -> None:
    with pytest.raises(UnavailableError, match="ended the stream before its commit"):
        await send(Receiver(ends_early=True))


async def test_a_receiver_that_gives_no_credit_is_left_at_the_deadline() -> None:
    receiver = Receiver(waits=True)
    with pytest.raises(DeadlineExpiredError):
        await send(receiver, timeout_seconds=0.1)
    assert receiver.chunks == []


async def test_a_receiver_that_is_not_there_is_unavailable() -> None:
    sender = EmbeddingSender(CHUNK_BYTES)
    async with serving(ADD, Receiver()) as loopback:
        await loopback.server.stop(0)
        with pytest.raises(UnavailableError):
            await sender.send(loopback.address, MANIFEST, memoryview(PAYLOAD), 20)
    await sender.close()


async def test_cancelling_ends_the_stream() -> None:
    receiver, sender = Receiver(waits=True), EmbeddingSender(CHUNK_BYTES)
    async with serving(ADD, receiver) as loopback:
        sending = asyncio.create_task(
            sender.send(loopback.address, MANIFEST, memoryview(PAYLOAD), None)
        )
        await until(lambda: bool(receiver.manifests))
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.wait_for(receiver.left.wait(), 5)
        await sender.close()


async def test_one_sender_sends_many_at_a_time() -> None:
    receiver, sender = Receiver(), EmbeddingSender(CHUNK_BYTES)
    async with serving(ADD, receiver) as loopback:
        sends = [sender.send(loopback.address, MANIFEST, memoryview(PAYLOAD), 20) for _ in range(8)]
        transfers = await asyncio.gather(*sends)
        await sender.close()
    assert [transfer.num_bytes for transfer in transfers] == [96] * 8
    assert len(receiver.manifests) == 8
