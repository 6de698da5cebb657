"""Ports: shared with ours, never with a stranger, and nothing waits in their connections."""

import asyncio
import socket

import pytest

from common.errors import ConfigError
from router.port import bind_shared, check_port_is_free

HOST = "127.0.0.1"


def test_a_port_is_shared_with_ours_and_not_free() -> None:
    with bind_shared(HOST, 0) as first:
        port = first.getsockname()[1]
        with bind_shared(HOST, port):
            pass
        with pytest.raises(ConfigError, match=f"{HOST}:{port}; is the port in use"):
            check_port_is_free(HOST, port)
    check_port_is_free(HOST, port)


def test_a_stranger_does_not_share() -> None:
    with socket.socket() as stranger:
        stranger.bind((HOST, 0))
        with pytest.raises(ConfigError):
            bind_shared(HOST, stranger.getsockname()[1])


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=host):
        bind_shared(host, 0)


async def test_small_writes_are_not_held_back() -> None:
    delays: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken = writer.get_extra_info("socket")
        delays.set_result(not taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    server = await asyncio.start_server(connected, sock=bind_shared(HOST, 0))
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert not await delays
        writer.close()
