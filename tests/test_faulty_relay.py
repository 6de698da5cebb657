"""The relay does to a connection what it says."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faulty_relay import HOST, faulty_relay


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def echo_server() -> AsyncIterator[str]:
    server = await asyncio.start_server(echo, HOST, 0)
    yield f"{HOST}:{server.sockets[0].getsockname()[1]}"
    server.close()


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def test_what_is_said_arrives_and_comes_back_late_where_it_is_slow() -> None:
    async with echo_server() as target, faulty_relay(target) as relay:
        reader, writer = await connect(relay.address)
        writer.write(b"quick")
        assert await reader.readexactly(5) == b"quick"
        relay.delay_seconds = 0.05
        began = time.monotonic()
        writer.write(b"slow")
        assert await reader.readexactly(4) == b"slow"
        assert time.monotonic() - began >= 2 * relay.delay_seconds
        writer.close()


async def test_a_silent_network_keeps_the_connection_and_gives_up_nothing() -> None:
    async with echo_server() as target, faulty_relay(target) as relay:
        reader, writer = await connect(relay.address)
        relay.silence()
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        assert not reader.at_eof()
        relay.heal()
        assert await reader.readexactly(4) == b"held"
        writer.close()


async def test_a_cut_breaks_what_is_open_and_lets_new_connections_through() -> None:
    async with echo_server() as target, faulty_relay(target) as relay:
        reader, writer = await connect(relay.address)
        writer.write(b"once")
        await reader.readexactly(4)
        relay.cut()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        reader, writer = await connect(relay.address)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        writer.close()


async def test_a_target_that_is_gone_refuses() -> None:
    async with echo_server() as target:
        pass
    async with faulty_relay(target) as relay:
        reader, _ = await connect(relay.address)
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
