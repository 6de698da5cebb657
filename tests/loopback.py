"""A real gRPC server on loopback around one servicer, and a channel to it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from common.rpc import RpcServer, open_channel
from common.work_gate import WorkGate

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Loopback:
    """Both ends of one connection."""

    server: RpcServer
    address: str
    channel: grpc.aio.Channel


@asynccontextmanager
async def serving(
    add: Callable[[Any, grpc.aio.Server], None], servicer: Any, work: WorkGate | None = None
) -> AsyncIterator[Any]:
    """Serve `servicer` for the length of the context.

    Args:
        add: The generated `add_..._to_server`.
        servicer: Real or fake.
        work: Which calls are work.
    """
    server = RpcServer(work=work)
    add(servicer, server.server)
    name = add.__name__.removeprefix("add_").removesuffix("Servicer_to_server")
    address = f"{HOST}:{await server.start(f'{HOST}:0', [f'dvd.v1.{name}'])}"
    channel = open_channel(address)
    try:
        yield Loopback(server, address, channel)
    finally:
        await channel.close()
        await server.stop(0)
