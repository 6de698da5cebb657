"""A TCP relay in front of one address, whose network is slowed, silenced or cut at will.

Where `cutting_proxy` breaks connections at a byte, this one changes what all of them are like.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

HOST = "127.0.0.1"
READ_BYTES = 64 << 10


class FaultyRelay:
    """Forwards connections to a target.

    Attributes:
        target: `host:port` where new connections go.
        delay_seconds: That every piece waits on its way, in each direction.
        address: `host:port` of the relay itself, once it listens.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.delay_seconds = 0.0
        self.address = ""
        self._passes = asyncio.Event()
        self._passes.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._forward, HOST, 0)
        self.address = f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def silence(self) -> None:
        """Let nothing pass any more, and tell nobody: connections are half open."""
        self._passes.clear()

    def heal(self) -> None:
        """Let everything pass, what was held back first."""
        self._passes.set()
        self.delay_seconds = 0.0

    def cut(self) -> None:
        """Break every connection, with a reset as of a lost host."""
        for writer in self._writers:
            reset(writer)

    async def stop(self) -> None:
        """Listen no more and break what is left."""
        if self._server is not None:
            self._server.close()
        self.heal()
        self.cut()

    async def _forward(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._writers.add(back)
        try:
            await self._passes.wait()
            host, _, port = self.target.rpartition(":")
            target, onwards = await asyncio.open_connection(host, int(port))
        except OSError:
            self._writers.discard(back)
            reset(back)
            return
        self._writers.add(onwards)
        ways = [
            asyncio.create_task(self._carry(client, onwards)),
            asyncio.create_task(self._carry(target, back)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for writer in (onwards, back):
            self._writers.discard(writer)
            reset(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(READ_BYTES):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await self._passes.wait()
                writer.write(data)
                await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection so that its other end sees a reset."""
    if not writer.transport.is_closing():
        at_once = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()


@asynccontextmanager
async def faulty_relay(target: str) -> AsyncIterator[FaultyRelay]:
    """Run a relay in front of `host:port` for the length of the context."""
    relay = FaultyRelay(target)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
