"""What clients, senders and networks do to a cluster on a bad day, drawn at random."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

from common.errors import DvdError
from common.rpc import each, open_channel
from common.stream_codec import PUT_EMBEDDINGS, PayloadChunk, encode_message
from protos.dvd.v1 import embedding_pb2, inference_pb2
from tests import pictures
from tests.integration.requests import wire_request
from tests.local_cluster import LocalCluster
from tests.reference.conversation import user

NUM_PICTURES = 40
MAX_TOKENS = 12
# Towards a language replica, before the connection breaks; a picture has tens of kilobytes.
SHORTEST_CONNECTION_BYTES, LONGEST_CONNECTION_BYTES = 200_000, 4_000_000


class Misuse:
    """Draws what happens next, and counts it.

    Args:
        cluster: Gets it.
        language_address: Of the language replica, without anything between.
        seed: Equal seeds draw the same.
    """

    def __init__(self, cluster: LocalCluster, language_address: str, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._random = random.Random(seed)  # noqa: S311
        self._pictures = [
            pictures.grid(1 + index % 3, 1 + index % 2, index) for index in range(NUM_PICTURES)
        ]
        self._channel = open_channel(language_address)

    async def round(self, num_requests: int) -> None:
        """Do so many things at once and wait until all have ended."""
        kinds = [self._answer] * 6 + [self._leave, self._leave, self._expire, self._lie, self._mute]
        chosen = self._random.choices(kinds, k=num_requests)
        await asyncio.gather(*(one() for one in chosen))

    async def close(self) -> None:
        """Close the channel of its own."""
        await self._channel.close()

    async def _answer(self) -> None:
        await self._ask("answered")

    async def _expire(self) -> None:
        await self._ask("answered in no time", timeout_seconds=self._random.uniform(0.01, 0.3))

    async def _leave(self) -> None:
        """Walk away after some events, or before the first."""
        stream = self._cluster.client.stream(self._request())
        left_events = self._random.randrange(5)
        try:
            async for _ in stream:
                left_events -= 1
                if left_events <= 0:
                    break
            self.counts["left by the client"] += 1
        except DvdError as error:
            self.counts[f"failed: {type(error).__name__}"] += 1
        finally:
            await stream.aclose()  # type: ignore[attr-defined]

    async def _lie(self) -> None:
        """Send an embedding that nobody waits for, or no embedding at all."""
        manifest = embedding_pb2.EmbeddingManifest(num_bytes=1 << 60, tile_tokens=[1 << 31])
        chunk = PayloadChunk(0, 0, self._random.randbytes(1000))
        messages = [encode_message(manifest), encode_message(chunk), self._random.randbytes(50)]
        put = self._channel.stream_stream(PUT_EMBEDDINGS)
        try:
            async for _ in each(put(iter(self._random.sample(messages, k=2)))):
                pass
        except DvdError:
            self.counts["lies refused"] += 1

    async def _mute(self) -> None:
        """Open a stream and say nothing until the receiver gives it up."""
        stream = self._channel.stream_stream(PUT_EMBEDDINGS)()
        await stream.code()
        self.counts["silent streams given up"] += 1

    async def _ask(self, outcome: str, timeout_seconds: float = 60.0) -> None:
        try:
            await self._cluster.client.answer(self._request(), timeout_seconds)
            self.counts[outcome] += 1
        except DvdError as error:
            self.counts[f"failed: {type(error).__name__}"] += 1

    def _request(self) -> inference_pb2.GenerateRequest:
        chosen = self._random.sample(self._pictures, k=self._random.randint(1, 2))
        return wire_request((user(*chosen, "What is this?"),), MAX_TOKENS)

    def cuts(self) -> Iterator[int]:
        """For each connection to the language replica, the bytes after which it breaks."""
        while True:
            yield self._random.randint(SHORTEST_CONNECTION_BYTES, LONGEST_CONNECTION_BYTES)
