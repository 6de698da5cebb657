"""The sending ends of `benchmarks/transport.py`: each contender in a process of its own.

python -m benchmarks.transport_senders ours|naive|raw ADDRESS
"""

import asyncio
import itertools
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch

from benchmarks.end_process import Answer, cpu_seconds, obey
from benchmarks.transport_payload import SIZES, TILE_BYTES, Size, manifest, payload
from benchmarks.transport_receivers import HOST, NAIVE_METHOD, NAIVE_SERVICE
from common.config import VisionServiceConfig
from common.rpc import open_channel
from protos.dvd.v1 import embedding_pb2
from vision_service.sender import EmbeddingSender

RAW_WRITE_BYTES = 1 << 20


class Sender(Protocol):
    """One contender."""

    async def send(self, size: Size, data: memoryview) -> None:
        """Send one payload and wait until it is there."""


class Ours:
    """The real sender, as a vision replica has it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._sender = EmbeddingSender(VisionServiceConfig().chunk_bytes)
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)

    async def send(self, size: Size, data: memoryview) -> None:
        """Stream it into the next reservation."""
        opening = manifest(size, next(self._numbers[size.name]))
        await self._sender.send(self._address, opening, data, None)


class Naive:
    """A unary call a tile, `bytes` in a protobuf message."""

    def __init__(self, address: str) -> None:
        self._put = open_channel(address).unary_unary(
            f"/{NAIVE_SERVICE}/{NAIVE_METHOD}",
            request_serializer=embedding_pb2.EmbeddingChunk.SerializeToString,
            response_deserializer=embedding_pb2.EmbeddingCommitted.FromString,
        )

    async def send(self, size: Size, data: memoryview) -> None:
        """Send tile after tile."""
        for begin in range(0, size.num_bytes, TILE_BYTES):
            tile = bytes(data[begin : begin + TILE_BYTES])
            await self._put(embedding_pb2.EmbeddingChunk(inline=tile))


class Raw:
    """A TCP socket."""

    def __init__(self, port: str) -> None:
        self._connection = socket.create_connection((HOST, int(port)))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def send(self, size: Size, data: memoryview) -> None:
        """Send length and bytes, wait for one byte."""
        self._connection.sendall(size.num_bytes.to_bytes(4, "little"))
        for begin in range(0, size.num_bytes, RAW_WRITE_BYTES):
            self._connection.sendall(data[begin : begin + RAW_WRITE_BYTES])
        self._connection.recv(1)


async def run(kind: str, address: str) -> None:
    """Send what stdin asks for until it ends."""
    torch.set_num_threads(1)
    sender: Sender = {"ours": Ours, "naive": Naive, "raw": Raw}[kind](address)
    payloads = {name: payload(size) for name, size in SIZES.items()}

    async def timed(size: Size) -> float:
        began = time.perf_counter()
        await sender.send(size, payloads[size.name])
        return time.perf_counter() - began

    async def send(command: Mapping[str, Any]) -> Answer:
        size, times = SIZES[command["size"]], command["times"]
        cpu, began = cpu_seconds(), time.perf_counter()
        if command.get("together"):
            seconds = await asyncio.gather(*(timed(size) for _ in range(times)))
        else:
            seconds = [await timed(size) for _ in range(times)]
        return {
            "seconds": time.perf_counter() - began,
            "each_seconds": seconds,
            "cpu_seconds": cpu_seconds() - cpu,
        }

    await obey({}, send)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2]))
