"""No request waits for ever: arrivals, losses, cancels and preemptions, all in virtual time.

The real inbox and the real scheduler, over caches that are too small for all. A request takes its
room, its pictures come in any order over streams that break, and it holds its bytes until its
answer is complete, however often it has to give its KV room back before. If any of them waited for
another in a circle, the clock would run on until it is stopped.
"""

import asyncio
from dataclasses import dataclass, field

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tensor_codec import checksum
from language_service.block_tables import KvBlocks
from language_service.embedding_manifest import EmbeddingFormat, Manifest
from language_service.inbox import Inbox
from language_service.prompt import ImageSegment, TextSegment
from language_service.reservation import ArrivedImage, ExpectedImage
from language_service.scheduler import EngineLimits
from language_service.sequence import Sequence
from tests.fakes import pass_time, run_in_virtual_time
from tests.language_service.kv_simulation import Simulation, picture, sequence_of

FORMAT = EmbeddingFormat("ours", torch.float32, hidden_size=1, full_tokens=4, compressed_tokens=1)
INBOX_TILES, LONGEST, BLOCK_SIZE = 4, 32, 4


@dataclass(frozen=True)
class Life:
    """What befalls one request.

    Attributes:
        tiles: Of each of its pictures.
        losses: Streams of each picture that break before one arrives.
        compressed: Whether the resolution router compresses all tiles.
        arrives_at: On the clock.
        stays: Time after which its client leaves; None waits for the answer.
        max_tokens: Of the answer.
    """

    tiles: tuple[int, ...]
    losses: tuple[int, int]
    compressed: bool
    arrives_at: int
    stays: int | None
    max_tokens: int


LIVES = st.builds(
    Life,
    tiles=st.lists(st.integers(1, 2), max_size=2).map(tuple),
    losses=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    compressed=st.booleans(),
    arrives_at=st.integers(0, 12),
    stays=st.one_of(st.none(), st.integers(0, 30)),
    max_tokens=st.integers(1, 8),
)


@dataclass
class World:
    """One inbox and one engine without a model."""

    lives: list[Life]
    num_kv_tokens: int
    seats: int
    finished: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inbox = Inbox(FORMAT.max_bytes(INBOX_TILES), FORMAT)
        limits = EngineLimits(LONGEST, 8, self.seats)
        self.simulation = Simulation(limits, KvBlocks(self.num_kv_tokens, BLOCK_SIZE))

    async def run(self) -> None:
        engine = asyncio.create_task(self._step())
        await asyncio.gather(*(self._live(number) for number in range(len(self.lives))))
        engine.cancel()

    async def _step(self) -> None:
        while True:
            self.simulation.step()
            await pass_time(1)

    async def _live(self, number: int) -> None:
        life = self.lives[number]
        await pass_time(life.arrives_at)
        try:
            async with asyncio.timeout(life.stays):
                await self._answer(number, life)
        except TimeoutError:
            self.left.append(number)
        else:
            self.finished.append(number)

    async def _answer(self, number: int, life: Life) -> None:
        images = [ExpectedImage(bytes((number, tiles)), tiles) for tiles in life.tiles]
        async with self.inbox.reserve(str(number), images) as reservation:
            places = [ImageSegment(index) for index in range(len(images))]
            text = TextSegment((number, 1))
            sequence = sequence_of(*places, text, max_tokens=life.max_tokens)

            def supply(image: ArrivedImage) -> None:
                num_tokens = sum(image.tile_tokens)
                sequence.supply(image.image_index, picture(number, num_tokens))

            reservation.on_arrival = supply
            self.simulation.submit(sequence, arrival=number)
            try:
                await self._deliver(number, life, images)
                while sequence in self.simulation.alive:
                    await pass_time(1)
            finally:
                self._forget(sequence)

    def _forget(self, sequence: Sequence) -> None:
        if sequence in self.simulation.alive:
            self.simulation.remove(sequence)

    async def _deliver(self, number: int, life: Life, images: list[ExpectedImage]) -> None:
        pushes = (
            self._push(number, index, image, life.losses[index], life.compressed)
            for index, image in enumerate(images)
        )
        async with asyncio.TaskGroup() as group:
            for push in pushes:
                group.create_task(push)

    async def _push(
        self, number: int, index: int, image: ExpectedImage, losses: int, compressed: bool
    ) -> None:
        tile_tokens = FORMAT.tile_tokens([compressed] * image.num_tiles)
        data = bytes(sum(tile_tokens) * FORMAT.token_bytes)
        for attempt in range(losses + 1):
            manifest = Manifest(
                str(number), index, attempt, 0, image.image_key, "ours", torch.float32, 1,
                tile_tokens, len(data),
            )  # fmt: skip
            writer = self.inbox.open(manifest)
            # Pictures take their time, and later ones may be the faster.
            await pass_time(1 + (number + 2 * index + attempt) % 4)
            if attempt == losses:
                writer.write(0, checksum(data), data)
                writer.commit()
            writer.close()


def check(world: World) -> None:
    """Everybody has ended, in one way or the other, and everything was given back."""
    run_in_virtual_time(world.run())
    assert sorted(world.finished + world.left) == list(range(len(world.lives)))
    assert all(world.lives[number].stays is not None for number in world.left)
    assert (world.inbox.reserved_bytes, world.inbox.waiting_requests) == (0, 0)
    assert world.simulation.alive == []
    assert world.simulation.blocks.num_free_tokens == world.simulation.blocks.num_tokens


@settings(deadline=None, max_examples=100)
@given(
    lives=st.lists(LIVES, min_size=1, max_size=12),
    num_kv_tokens=st.integers(LONGEST, 2 * LONGEST),
    seats=st.integers(1, 4),
)
def test_every_request_ends_and_gives_everything_back(
    lives: list[Life], num_kv_tokens: int, seats: int
) -> None:
    check(World(lives, num_kv_tokens, seats))


def test_a_crowd_waits_gives_way_loses_streams_leaves_and_ends() -> None:
    """The property is no empty one: here all of it happens."""
    lives = [
        Life((2, 2), (number % 3, 1), number % 5 == 0, number // 4, 25 if number % 4 else None, 8)
        for number in range(12)
    ]
    world = World(lives, LONGEST + BLOCK_SIZE, 4)
    check(world)
    assert world.finished
    assert world.left
    texts = [Life((), (0, 0), False, 0, None, 8) for _ in range(6)]
    crowd = World([*texts, Life((2, 2), (1, 1), False, 0, None, 8), *texts], LONGEST, 4)
    check(crowd)
    assert crowd.simulation.scheduler.num_preemptions > 0
