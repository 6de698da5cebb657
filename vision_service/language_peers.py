"""Channels to the language replicas that embeddings are sent to, a bounded number of them.

A language replica that restarts comes back under another address, so the channels to addresses
that nobody sends to any more are closed. A channel on which a replica was lost is not used again:
it would wait a second before it connects, and the repeated stream would fail meanwhile.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from common.errors import UnreachableError
from common.rpc import open_channel
from common.stream_codec import PUT_EMBEDDINGS, StreamMessage, encode_message
from protos.dvd.v1 import embedding_pb2

MAX_UNUSED_CHANNELS = 16

PutEmbeddings: TypeAlias = (
    "grpc.aio.StreamStreamMultiCallable[StreamMessage, embedding_pb2.PutEmbeddingsResponse]"
)


@dataclass(slots=True, eq=False)
class LanguagePeer:
    """One language replica.

    Attributes:
        channel: The connection.
        put_embeddings: The call that opens an embedding stream.
        num_streams: Streams under way.
    """

    channel: grpc.aio.Channel
    put_embeddings: PutEmbeddings
    num_streams: int = 0


class LanguagePeers:
    """Keeps one channel per language replica."""

    def __init__(self) -> None:
        # Least recently used first.
        self._peers: dict[str, LanguagePeer] = {}
        self._retired: set[LanguagePeer] = set()

    @asynccontextmanager
    async def lease(self, destination: str) -> AsyncIterator[PutEmbeddings]:
        """Have a channel to `host:port` for the length of the context.

        Where the context ends with UnreachableError, the next one has a fresh channel; streams
        that are still on the old one go on.
        """
        peer = self._peers.pop(destination, None) or _connect(destination)
        self._peers[destination] = peer
        peer.num_streams += 1
        try:
            await self._close_unused()
            yield peer.put_embeddings
        except UnreachableError:
            if self._peers.get(destination) is peer:
                del self._peers[destination]
                self._retired.add(peer)
            raise
        finally:
            peer.num_streams -= 1
            if peer in self._retired and not peer.num_streams:
                self._retired.remove(peer)
                await peer.channel.close()

    async def close(self) -> None:
        """Close every channel."""
        peers = [*self._peers.values(), *self._retired]
        self._peers, self._retired = {}, set()
        for peer in peers:
            await peer.channel.close()

    async def _close_unused(self) -> None:
        unused = [name for name, peer in self._peers.items() if not peer.num_streams]
        for name in unused[: max(0, len(unused) - MAX_UNUSED_CHANNELS)]:
            await self._peers.pop(name).channel.close()


def _connect(destination: str) -> LanguagePeer:
    channel = open_channel(destination)
    return LanguagePeer(
        channel,
        channel.stream_stream(
            PUT_EMBEDDINGS,
            request_serializer=encode_message,
            response_deserializer=embedding_pb2.PutEmbeddingsResponse.FromString,
        ),
    )
