"""The router's copy of the roster: whole, current, and kept when the supervisor is gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from common.errors import DvdError, UnavailableError
from common.rpc import RpcServer
from common.types import ReplicaAddress, ReplicaRole
from protos.dvd.v1 import replica_pb2, replica_pb2_grpc
from router.roster import follow_roster
from tests.loopback import HOST, serving
from tests.router.fakes import address

ADD = replica_pb2_grpc.add_RosterServiceServicer_to_server
WIRE_ROLES = {
    ReplicaRole.VISION: replica_pb2.REPLICA_ROLE_VISION,
    ReplicaRole.LANGUAGE: replica_pb2.REPLICA_ROLE_LANGUAGE,
}
EVERYBODY = [address("vision-0"), address("language-0", "later", "other")]


def wire(entry: ReplicaAddress) -> replica_pb2.Replica:
    return replica_pb2.Replica(
        name=entry.name,
        role=WIRE_ROLES[entry.role],
        incarnation=entry.incarnation,
        address=entry.address,
        metrics_address=entry.metrics_address,
        fingerprint=entry.fingerprint,
    )


class Supervisor(replica_pb2_grpc.RosterServiceServicer):
    """Sends the rosters that it is given; None ends the stream, an error breaks it."""

    def __init__(self) -> None:
        self.rosters: asyncio.Queue[Sequence[ReplicaAddress] | DvdError | None] = asyncio.Queue()

    async def WatchRoster(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        while (roster := await self.rosters.get()) is not None:
            if isinstance(roster, DvdError):
                raise roster
            yield replica_pb2.WatchRosterResponse(replicas=[wire(entry) for entry in roster])


@asynccontextmanager
async def following(supervisor: str) -> AsyncIterator[asyncio.Queue[list[ReplicaAddress]]]:
    """Every roster that is passed on."""
    seen: asyncio.Queue[list[ReplicaAddress]] = asyncio.Queue()

    async def keep(roster: Sequence[ReplicaAddress]) -> None:
        seen.put_nowait(list(roster))

    task = asyncio.create_task(follow_roster(supervisor, keep))
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_every_roster_is_passed_on_whole() -> None:
    supervisor = Supervisor()
    async with serving(ADD, supervisor) as loopback, following(loopback.address) as seen:
        for roster in (EVERYBODY, EVERYBODY[:1], []):
            supervisor.rosters.put_nowait(roster)
            assert await seen.get() == roster


async def test_a_stream_that_ends_is_opened_again() -> None:
    supervisor = Supervisor()
    async with serving(ADD, supervisor) as loopback, following(loopback.address) as seen:
        for roster in (EVERYBODY, None, EVERYBODY[1:]):
            supervisor.rosters.put_nowait(roster)
        assert await seen.get() == EVERYBODY
        assert await seen.get() == EVERYBODY[1:]


async def test_a_supervisor_that_is_away_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor()
    for step in (EVERYBODY, UnavailableError("Away."), UnavailableError("Away."), []):
        supervisor.rosters.put_nowait(step)
    async with serving(ADD, supervisor) as loopback, following(loopback.address) as seen:
        assert [await seen.get(), await seen.get()] == [EVERYBODY, []]
        supervisor.rosters.put_nowait(UnavailableError("Away again."))
        supervisor.rosters.put_nowait(EVERYBODY)
        assert await seen.get() == EVERYBODY
    assert [record.getMessage() for record in caplog.records if record.name == "router.roster"] == [
        "roster stream broke, keeping the last one: Away.",
        "roster stream broke, keeping the last one: Away again.",
    ]


async def test_without_the_supervisor_the_last_roster_stays_until_it_is_back() -> None:
    first, second = Supervisor(), Supervisor()
    first.rosters.put_nowait(EVERYBODY)
    second.rosters.put_nowait([])
    async with serving(ADD, first) as loopback, following(loopback.address) as seen:
        assert await seen.get() == EVERYBODY
        await loopback.server.stop(0)
        restarted = RpcServer()
        ADD(second, restarted.server)
        await restarted.start(loopback.address, [])
        assert await seen.get() == []
        await restarted.stop(0)


async def test_a_supervisor_that_is_not_there_is_waited_for() -> None:
    server = RpcServer()
    free = f"{HOST}:{await server.start(f'{HOST}:0', [])}"
    await server.stop(0)
    supervisor = Supervisor()
    supervisor.rosters.put_nowait(EVERYBODY)
    async with following(free) as seen:
        assert seen.empty()
        late = RpcServer()
        ADD(supervisor, late.server)
        await late.start(free, [])
        assert await seen.get() == EVERYBODY
        await late.stop(0)
