"""The receiving ends of `benchmarks/transport.py`: each contender in a process of its own.

python -m benchmarks.transport_receivers ours|naive|raw
"""

import asyncio
import itertools
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import torch

from benchmarks.end_process import Answer, cpu_seconds, obey
from benchmarks.transport_payload import FORMAT, PICTURE, SIZES, TILE_BYTES, Size
from common.config import LanguageServiceConfig
from common.rpc import RpcServer
from language_service.inbox import Inbox
from language_service.receiver import EmbeddingReceiver
from language_service.server import add_language_service
from protos.dvd.v1 import embedding_pb2, language_pb2_grpc

HOST = "127.0.0.1"
NAIVE_METHOD = "Put"
NAIVE_SERVICE = "benchmark.Naive"
RESERVED_AHEAD = 8
RAW_READ_BYTES = 1 << 20


class Ours(language_pb2_grpc.LanguageServiceServicer):
    """The real inbox behind the real receiver and codec, as a language replica has them."""

    def __init__(self) -> None:
        config = LanguageServiceConfig()
        self._rpc = RpcServer()
        self._inbox = Inbox(config.inbox_bytes, FORMAT)
        self._receiver = EmbeddingReceiver(
            self._inbox, config.credit_bytes, config.sender_silence_seconds
        )
        self._holding: list[asyncio.Task[None]] = []
        self._taking = asyncio.Event()
        self._taking.set()

    def stall(self, is_stalled: bool) -> None:
        """Take nothing more in, or go on."""
        (self._taking.clear if is_stalled else self._taking.set)()

    async def start(self) -> str:
        """Serve, with room reserved for the next requests of every size."""
        for size, first in itertools.product(SIZES.values(), range(RESERVED_AHEAD)):
            self._holding.append(asyncio.create_task(self._keep_reserving(size, first)))
        add_language_service(self, self._rpc.server)
        return f"{HOST}:{await self._rpc.start(f'{HOST}:0', [])}"

    async def PutEmbeddings(  # noqa: N802
        self, request: AsyncIterator[Any], _: object
    ) -> AsyncIterator[embedding_pb2.PutEmbeddingsResponse]:
        """Receive as a language replica does."""
        async for response in self._receiver.receive(self._unless_stalled(request)):
            yield response

    async def _unless_stalled(self, request: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for message in request:
            yield message
            await self._taking.wait()

    async def _keep_reserving(self, size: Size, first: int) -> None:
        for number in itertools.count(first, RESERVED_AHEAD):
            arrived = asyncio.Event()
            async with self._inbox.reserve(f"{size.name}-{number}", [size.image]) as reservation:
                reservation.on_arrival = lambda _, arrived=arrived: arrived.set()
                await arrived.wait()


class Naive:
    """What one writes first: a unary call a tile, `bytes` in a protobuf message, one copy out."""

    def __init__(self) -> None:
        self._rpc = RpcServer()
        self._received = memoryview(torch.zeros(TILE_BYTES, dtype=torch.uint8).numpy())

    async def start(self) -> str:
        """Serve."""
        handler = grpc.unary_unary_rpc_method_handler(
            self._put,
            embedding_pb2.EmbeddingChunk.FromString,
            embedding_pb2.EmbeddingCommitted.SerializeToString,
        )
        self._rpc.server.add_registered_method_handlers(NAIVE_SERVICE, {NAIVE_METHOD: handler})
        return f"{HOST}:{await self._rpc.start(f'{HOST}:0', [])}"

    async def _put(
        self, request: embedding_pb2.EmbeddingChunk, _: object
    ) -> embedding_pb2.EmbeddingCommitted:
        data = request.inline
        self._received[:] = data
        return embedding_pb2.EmbeddingCommitted(num_bytes=len(data))


class Raw:
    """A TCP socket read into memory that is there already; one byte back a payload."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self._received = memoryview(bytearray(PICTURE.num_bytes))

    async def start(self) -> str:
        """Serve one connection on a thread."""
        threading.Thread(target=self._serve, daemon=True).start()
        return str(self._listener.getsockname()[1])

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while header := connection.recv(4, socket.MSG_WAITALL):
            # All of it must be there in the end, as it is in the inbox.
            end, at = int.from_bytes(header, "little"), 0
            while at < end:
                room = self._received[at : min(end, at + RAW_READ_BYTES)]
                at += connection.recv_into(room)
            connection.sendall(b"k")


async def run(kind: str) -> None:
    """Serve until stdin ends; every command is answered with the CPU time so far."""
    torch.set_num_threads(1)
    contender = {"ours": Ours, "naive": Naive, "raw": Raw}[kind]()

    async def do(command: Mapping[str, Any]) -> Answer:
        if isinstance(contender, Ours) and "stall" in command:
            contender.stall(command["stall"])
        return {"cpu_seconds": cpu_seconds()}

    start: Callable[[], Awaitable[str]] = contender.start
    await obey({"address": await start()}, do)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
