"""Replicas that do as they are told, behind the interfaces of the router's clients."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from common.errors import DeadlineExpiredError, DvdError
from common.image_options import ImageOptions
from common.resolution_rule import ResolutionThresholds
from common.tiling import TileGrid, TilingOptions
from common.types import FinishReason, ReplicaAddress, ReplicaRole, ResolutionScope, SamplingRequest
from protos.dvd.v1 import embedding_pb2, replica_pb2
from router.language_client import Acceptance, AnswerDelta, AnswerEnd, AnswerOrder
from router.policies import Policy
from router.replica_pool import ReplicaPool
from router.requests import RequestCost, ValidImage, ValidRequest
from router.vision_client import Destination, Encoding, PlannedPush, PushReceipt

FINGERPRINT = "fingerprint"
DTYPE = embedding_pb2.D_TYPE_BFLOAT16

# What a fake does at one call: fail, wait first, or (None) succeed at once.
Outcome = DvdError | asyncio.Event | None


def address(
    name: str, incarnation: str = "first", fingerprint: str = FINGERPRINT
) -> ReplicaAddress:
    """The roster's entry of a fake, which has its role in its name."""
    role = ReplicaRole(name.partition("-")[0])
    return ReplicaAddress(name, role, incarnation, f"{name}:1", f"{name}:2", fingerprint)


OPTIONS = ImageOptions(TilingOptions(tile_size=8, min_tiles=1, max_tiles=12, use_thumbnail=False))
THRESHOLDS = ResolutionThresholds(relative=0.5, absolute=0.4)


def images(*tile_counts: int) -> tuple[ValidImage, ...]:
    """Pictures of so many tiles, without thumbnails, with keys a, b, c and so on."""
    return tuple(
        ValidImage(
            data=b"file",
            key=bytes([ord("a") + index]),
            grid=TileGrid(tiles, 1, False),
            field=f"image {index}",
            options=OPTIONS,
        )
        for index, tiles in enumerate(tile_counts)
    )


def request(
    *tile_counts: int,
    scope: ResolutionScope = ResolutionScope.REQUEST,
    thresholds: ResolutionThresholds | None = THRESHOLDS,
) -> ValidRequest:
    """A request with pictures of so many tiles."""
    return ValidRequest(
        request_id="r1",
        messages=(),
        images=images(*tile_counts),
        sampling=SamplingRequest(seed=5, max_tokens=8, temperature=0.0),
        scope=scope,
        thresholds=thresholds,
        cost=RequestCost(tiles=sum(tile_counts), tokens=10, image_bytes=100),
    )


@dataclass
class FakeReplica:
    """What pools see of a replica.

    Attributes:
        address: Its entry in the roster.
        journal: Gets a line for each call; shared between fakes, it shows their order.
        incarnation: Who the replica says it is.
        fingerprint: What it says it serves; empty for what the roster says.
        reports: Loads to report; None ends the stream, an error breaks it.
        info_outcomes: Of the next questions who it is.
        probe_outcomes: Of the next probes; False answers that it cannot do its work.
        num_probes: So far.
    """

    address: ReplicaAddress
    journal: list[str] = field(default_factory=list)
    incarnation: str = "first"
    fingerprint: str = ""
    reports: asyncio.Queue[int | replica_pb2.LoadReport | DvdError | None] = field(
        default_factory=asyncio.Queue
    )
    info_outcomes: list[Outcome] = field(default_factory=list)
    probe_outcomes: list[Outcome | bool] = field(default_factory=list)
    num_probes: int = 0
    is_closed: bool = False

    async def server_info(self, timeout_seconds: float) -> replica_pb2.ServerInfo:
        assert timeout_seconds > 0
        await take(self.info_outcomes)
        fingerprint = self.fingerprint or self.address.fingerprint
        who = replica_pb2.Replica(incarnation=self.incarnation, fingerprint=fingerprint)
        return replica_pb2.ServerInfo(replica=who, dtype=DTYPE)

    async def watch_load(self) -> AsyncIterator[replica_pb2.LoadReport]:
        while (load := await self.reports.get()) is not None:
            if isinstance(load, DvdError):
                raise load
            whole = isinstance(load, replica_pb2.LoadReport)
            yield load if whole else replica_pb2.LoadReport(outstanding_work=load)

    async def is_serving(self, timeout_seconds: float) -> bool:
        self.num_probes += 1
        outcome = self.probe_outcomes.pop(0) if self.probe_outcomes else True
        if isinstance(outcome, bool):
            return outcome
        try:
            async with asyncio.timeout(timeout_seconds):
                await take([outcome])
        except TimeoutError as late:
            raise DeadlineExpiredError("The deadline passed.") from late
        return True

    async def close(self) -> None:
        self.is_closed = True


@dataclass
class FakeVision(FakeReplica):
    """A vision replica.

    Attributes:
        scores: By picture key; 0.5 for every tile of the others.
        encode_outcomes: Of the next encodings of a picture, by its key.
        push_outcomes: Of the next pushes of a picture, by its key.
        pushed: Mask and destination of every push, by picture key.
        planned: What each encoding was told that will be pushed.
    """

    scores: dict[bytes, tuple[float, ...]] = field(default_factory=dict)
    encode_outcomes: dict[bytes, list[Outcome]] = field(default_factory=dict)
    push_outcomes: dict[bytes, list[Outcome]] = field(default_factory=dict)
    pushed: dict[bytes, list[tuple[tuple[bool, ...], Destination]]] = field(default_factory=dict)
    planned: list[PlannedPush | None] = field(default_factory=list)

    async def encode(
        self,
        request_id: str,
        image: ValidImage,
        planned: PlannedPush | None,
        timeout_seconds: float,
    ) -> Encoding:
        assert request_id == "r1"
        self.planned.append(planned)
        assert timeout_seconds > 0
        self._note("encode", image.key)
        await take(self.encode_outcomes.get(image.key, []))
        self._note("encoded", image.key)
        scores = self.scores.get(image.key, (0.5,) * image.grid.num_tiles)
        return Encoding(scores, 1.0, 2.0, 3.0, 4.0)

    async def push(
        self,
        image_key: bytes,
        compressed: tuple[bool, ...],
        destination: Destination,
        timeout_seconds: float,
    ) -> PushReceipt:
        assert timeout_seconds > 0
        self._note("push", image_key)
        self.pushed.setdefault(image_key, []).append((compressed, destination))
        await take(self.push_outcomes.get(image_key, []))
        self._note("pushed", image_key)
        return PushReceipt(5.0, 6.0)

    def _note(self, what: str, key: bytes) -> None:
        self.journal.append(f"{what} {key.decode()} {self.address.name}")


@dataclass
class FakeStream:
    """One answer under way: accepts, then sends its events, then ends.

    Attributes:
        journal: Of its replica.
        accept_outcome: What `accepted` does.
        needed: Pictures that it wants.
        events_left: What is still to be sent; an error fails the stream, an event is waited for.
        end: Set when the stream has ended.
    """

    journal: list[str]
    accept_outcome: Outcome
    needed: tuple[int, ...]
    events_left: list[AnswerDelta | AnswerEnd | Outcome]
    end: asyncio.Event = field(default_factory=asyncio.Event)

    async def accepted(self) -> Acceptance:
        await take([self.accept_outcome])
        self.journal.append("accepted")
        return Acceptance(self.needed, 7.0)

    async def events(self) -> AsyncIterator[AnswerDelta | AnswerEnd]:
        for event in self.events_left:
            if isinstance(event, AnswerDelta | AnswerEnd):
                self.journal.append("event")
                yield event
            else:
                await take([event])

    async def ended(self) -> None:
        await self.end.wait()

    def cancel(self) -> None:
        self.journal.append("cancel")


DELTAS = (AnswerDelta((1,), "a"), AnswerDelta((2,), "b"))
END = AnswerEnd(FinishReason.STOP, 11, 12, 2, 3, 0.5, 0.25, 0.125)


@dataclass
class FakeLanguage(FakeReplica):
    """A language replica.

    Attributes:
        accept_outcome: What accepting the next answers does.
        script: What the next answers send.
        scripts: Of the very next ones, in order; the others follow `script`.
        held: Pictures that the next answers do not need.
        orders: What each answer was asked for.
        streams: Every answer begun.
    """

    accept_outcome: Outcome = None
    script: Sequence[AnswerDelta | AnswerEnd | Outcome] = (*DELTAS, END)
    scripts: list[Sequence[AnswerDelta | AnswerEnd | Outcome]] = field(default_factory=list)
    held: frozenset[int] = frozenset()
    orders: list[AnswerOrder] = field(default_factory=list)
    streams: list[FakeStream] = field(default_factory=list)

    def open(self, order: AnswerOrder, fingerprint: str, timeout_seconds: float) -> FakeStream:
        assert order.request.request_id == "r1"
        assert fingerprint == FINGERPRINT
        assert timeout_seconds > 0
        self.journal.append("open")
        self.orders.append(order)
        needed = tuple(i for i in range(len(order.request.images)) if i not in self.held)
        script = self.scripts.pop(0) if self.scripts else self.script
        stream = FakeStream(self.journal, self.accept_outcome, needed, list(script))
        self.streams.append(stream)
        return self.streams[-1]


async def take(outcomes: list[Outcome]) -> None:
    """Do the next outcome; succeed at once when there is none."""
    outcome = outcomes.pop(0) if outcomes else None
    if isinstance(outcome, DvdError):
        raise outcome
    if outcome is not None:
        await outcome.wait()


def empty_pool(
    role: ReplicaRole, *replicas: FakeReplica, policy: Policy | None = None
) -> ReplicaPool[FakeReplica]:
    """A pool that reaches these fakes once they are in the roster."""
    by_name = {replica.address.name: replica for replica in replicas}
    return ReplicaPool(role, FINGERPRINT, lambda entry: by_name[entry.name], policy=policy)


@asynccontextmanager
async def pool_of(
    *replicas: FakeReplica, policy: Policy | None = None
) -> AsyncIterator[ReplicaPool[FakeReplica]]:
    """A pool in which these fakes are up and idle."""
    pool = empty_pool(replicas[0].address.role, *replicas, policy=policy)
    for fake in replicas:
        fake.reports.put_nowait(0)
    await pool.update([fake.address for fake in replicas])
    await pool.wait_until_up(len(replicas))
    try:
        yield pool
    finally:
        await pool.close()


def restarted(entry: ReplicaAddress) -> ReplicaAddress:
    """The roster's entry of the same replica after a restart."""
    return replace(entry, incarnation="second", address=f"{entry.name}:3")
