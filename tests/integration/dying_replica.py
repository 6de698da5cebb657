"""A replica that dies at an exact message of its answer: a gRPC server in front of a real replica.

It passes bytes on, whatever the method, until its fate is met; then its listener and all of its
connections are gone at once. The replica behind it sees its callers go away.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import grpc

from common.rpc import message_options, open_channel
from common.types import ReplicaAddress

HOST = "127.0.0.1"
MAX_MESSAGE_BYTES = 64 << 20
GENERATE = "/dvd.v1.LanguageService/Generate"
PUT_EMBEDDINGS = "/dvd.v1.LanguageService/PutEmbeddings"
ENCODE = "/dvd.v1.VisionService/Encode"
PUSH = "/dvd.v1.VisionService/Push"


@dataclass
class Fate:
    """Kills the first of several replicas whose calls have sent so many messages.

    Attributes:
        method: Whose calls count.
        messages_left: Until the end; None while nobody dies.
        at_request: Whether it comes before the replica behind hears of the call.
        victim: Who dies; None for the replica that is called.
        num_deaths: So far.
    """

    method: str = GENERATE
    messages_left: int | None = None
    at_request: bool = False
    victim: "DyingReplica | None" = None
    num_deaths: int = 0

    def strikes(self, method: str) -> bool:
        """Whether somebody dies before the next message is sent."""
        if method != self.method or self.messages_left is None:
            return False
        if self.messages_left:
            self.messages_left -= 1
            return False
        self.messages_left = None
        self.num_deaths += 1
        return True


class DyingReplica(grpc.GenericRpcHandler):
    """Stands for a real replica until it dies.

    Attributes:
        entry: What the roster says of it, once it has started.
        is_dead: Whether it has died.
    """

    def __init__(self, entry: ReplicaAddress, fate: Fate) -> None:
        self.entry = entry
        self.is_dead = False
        self._fate = fate
        self._dying: asyncio.Task[None] | None = None
        self._channel = open_channel(entry.address, MAX_MESSAGE_BYTES)
        self._server = grpc.aio.server(options=message_options(MAX_MESSAGE_BYTES))
        self._server.add_generic_rpc_handlers((self,))

    async def start(self) -> None:
        """Listen on a free port."""
        port = self._server.add_insecure_port(f"{HOST}:0")
        await self._server.start()
        self.entry = replace(self.entry, address=f"{HOST}:{port}")

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Serve any method, as bytes."""
        method = details.method

        async def forward(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
        ) -> AsyncIterator[bytes]:
            if self._fate.at_request and self._fate.strikes(method):
                await self._meet_fate()
            call = self._channel.stream_stream(method)(requests, timeout=context.time_remaining())
            try:
                async for response in call:
                    if self._fate.strikes(method):
                        await self._meet_fate()
                    yield response
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(error.trailing_metadata())
                await context.abort(error.code(), error.details())
            finally:
                call.cancel()

        return grpc.stream_stream_rpc_method_handler(forward)

    async def _meet_fate(self) -> None:
        """Have the victim die, and this call with it, if it is the victim's."""
        victim = self._fate.victim or self
        victim.is_dead = True
        victim._dying = asyncio.create_task(victim.stop())
        await (asyncio.Event().wait() if victim is self else asyncio.wait({victim._dying}))

    async def stop(self) -> None:
        """Be gone at once."""
        await self._server.stop(None)
        await self._channel.close()
