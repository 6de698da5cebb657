"""A TCP proxy that breaks or damages connections where it is told to: a network that fails."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
READ_BYTES = 16 << 10


@dataclass
class CuttingProxy:
    """Forwards connections to a target.

    Attributes:
        target_port: Where they go, on loopback.
        cuts: For each connection in turn the bytes towards the target after which it breaks, or
            None; those after the last one stay whole.
        num_connections: So far.
        damaged_byte: Position towards the target, on the first connection, of a bit that flips.
    """

    target_port: int
    cuts: Iterator[int | None] = field(default_factory=lambda: iter(()))
    num_connections: int = 0
    damaged_byte: int | None = None

    async def forward(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        self.num_connections += 1
        budget = next(self.cuts, None)
        if budget == 0:
            back.transport.abort()
            return
        target, onwards = await asyncio.open_connection(HOST, self.target_port)
        self.damaged_byte, damaged = None, self.damaged_byte
        ways = [
            asyncio.create_task(carry(client, onwards, budget, damaged)),
            asyncio.create_task(carry(target, back, None, None)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for writer in (onwards, back):
            # At once and with a reset, as a lost host would.
            writer.transport.abort()


async def carry(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    budget: int | None,
    damaged_byte: int | None,
) -> None:
    """Carry bytes one way until either side ends or the budget is used up."""
    carried = 0
    with suppress(ConnectionError):
        while data := await reader.read(READ_BYTES if budget is None else min(READ_BYTES, budget)):
            if damaged_byte is not None and carried <= damaged_byte < carried + len(data):
                at = damaged_byte - carried
                data = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
            carried += len(data)
            writer.write(data)
            await writer.drain()
            if budget is not None:
                budget -= len(data)


@asynccontextmanager
async def cutting_proxy(
    address: str, cuts: Iterator[int | None]
) -> AsyncIterator[tuple[str, CuttingProxy]]:
    """Run a proxy in front of `host:port`; its own address and itself."""
    proxy = CuttingProxy(int(address.rpartition(":")[2]), cuts)
    server = await asyncio.start_server(proxy.forward, HOST, 0)
    try:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}", proxy
    finally:
        server.close()
