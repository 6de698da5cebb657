"""A real gRPC server that receives embeddings into a real inbox, and raw streams into it."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import torch

from common.errors import UnavailableError
from common.rpc import RpcServer, each, open_channel
from common.stream_codec import PUT_EMBEDDINGS, PayloadChunk, StreamMessage, encode_message
from common.tensor_codec import checksum
from language_service.embedding_manifest import EmbeddingFormat
from language_service.inbox import Inbox
from language_service.receiver import EmbeddingReceiver
from language_service.server import add_language_service
from protos.dvd.v1 import embedding_pb2, language_pb2_grpc

HOST = "127.0.0.1"
TRIES = 50
FORMAT = EmbeddingFormat(
    model_fingerprint="ours",
    dtype=torch.float32,
    hidden_size=4,
    full_tokens=16,
    compressed_tokens=4,
)
TILE_BYTES = FORMAT.max_bytes(1)

Response = embedding_pb2.PutEmbeddingsResponse


class ReceivingServicer(language_pb2_grpc.LanguageServiceServicer):
    """`PutEmbeddings` alone."""

    def __init__(self, receiver: EmbeddingReceiver) -> None:
        self._receiver = receiver

    async def PutEmbeddings(self, request: Any, context: Any) -> AsyncIterator[Response]:  # noqa: ARG002, N802
        async with aclosing(self._receiver.receive(aiter(request))) as responses:
            async for response in responses:
                yield response


@dataclass(frozen=True)
class ReceivingServer:
    """A server, what it fills, and a channel that takes bytes as they are."""

    inbox: Inbox
    rpc: RpcServer
    address: str
    channel: grpc.aio.Channel

    def open_raw(self) -> Any:
        """An embedding stream whose messages are bytes."""
        return self.channel.stream_stream(PUT_EMBEDDINGS, response_deserializer=Response.FromString)

    async def put_raw(self, *messages: bytes) -> list[Response]:
        """Send one stream of raw messages; its answers.

        A receiver that refuses what comes first may reset the stream under the next write, and
        gRPC then tells only that it broke: once more, until it tells why.
        """
        for _ in range(TRIES):
            try:
                return [answer async for answer in each(self.open_raw()(iter(messages)))]
            except UnavailableError as broken:
                if "broke off" not in broken.message:
                    raise
        raise AssertionError("the stream broke every time")

    async def put(self, *messages: StreamMessage) -> list[Response]:
        """Send one stream; its answers."""
        return await self.put_raw(*map(encode_message, messages))


@asynccontextmanager
async def receiving(
    num_tiles: int = 1,
    credit_bytes: int = 1 << 20,
    silence_seconds: float = 30.0,
    port: int = 0,
    accepted: EmbeddingFormat = FORMAT,
) -> AsyncIterator[ReceivingServer]:
    """Serve an inbox with room for so many tiles, for the length of the context."""
    inbox = Inbox(accepted.max_bytes(num_tiles), accepted)
    rpc = RpcServer()
    receiver = EmbeddingReceiver(inbox, credit_bytes, silence_seconds)
    add_language_service(ReceivingServicer(receiver), rpc.server)
    address = f"{HOST}:{await rpc.start(f'{HOST}:{port}', [])}"
    channel = open_channel(address)
    try:
        yield ReceivingServer(inbox, rpc, address, channel)
    finally:
        await channel.close()
        await rpc.stop(0)


def manifest(
    request_id: str = "r1",
    image_key: bytes = b"a",
    num_tiles: int = 1,
    image_index: int = 0,
    **changes: Any,
) -> embedding_pb2.EmbeddingManifest:
    """A good manifest, or one with some fields changed."""
    fields: dict[str, Any] = {
        "slot": embedding_pb2.EmbeddingSlot(request_id=request_id, image_index=image_index),
        "image_key": image_key,
        "model_fingerprint": "ours",
        "dtype": embedding_pb2.D_TYPE_FLOAT32,
        "hidden_size": FORMAT.hidden_size,
        "tile_tokens": [FORMAT.full_tokens] * num_tiles,
        "num_bytes": num_tiles * TILE_BYTES,
    }
    return embedding_pb2.EmbeddingManifest(**(fields | changes))


def payload(seed: int, num_tiles: int = 1) -> bytes:
    """Finite embeddings that no other seed has."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(num_tiles * FORMAT.full_tokens, FORMAT.hidden_size, generator=generator)
    return values.numpy().tobytes()


def chunks(data: bytes, num_chunks: int) -> list[PayloadChunk]:
    """A payload in so many messages of equal size."""
    size = -(-len(data) // num_chunks)
    return [chunk(data, begin, begin + size) for begin in range(0, len(data), size)]


def chunk(data: bytes, begin: int, end: int) -> PayloadChunk:
    """A run of a payload with its checksum."""
    part = data[begin:end]
    return PayloadChunk(begin, checksum(part), part)
