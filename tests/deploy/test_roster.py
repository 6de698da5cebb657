"""The supervisor's roster, and the stream of it that routers follow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from common.types import ReplicaAddress, ReplicaRole
from deploy.roster import Roster, RosterServicer
from protos.dvd.v1 import replica_pb2, replica_pb2_grpc
from tests.fakes import in_virtual_time, settle
from tests.loopback import serving

ADD = replica_pb2_grpc.add_RosterServiceServicer_to_server


def replica(name: str, incarnation: str = "first") -> ReplicaAddress:
    role = ReplicaRole(name.partition("-")[0])
    return ReplicaAddress(name, role, incarnation, f"{name}:1", f"{name}:2", "fingerprint")


VISION, LANGUAGE = replica("vision-0"), replica("language-0")


def watch(channel: Any) -> AsyncIterator[replica_pb2.WatchRosterResponse]:
    stub = replica_pb2_grpc.RosterServiceStub(channel)
    return aiter(stub.WatchRoster(replica_pb2.WatchRosterRequest()))


def names(response: replica_pb2.WatchRosterResponse) -> list[tuple[str, str]]:
    return [(entry.name, entry.incarnation) for entry in response.replicas]


@in_virtual_time
async def test_it_lists_replicas_by_name() -> None:
    roster = Roster()
    await roster.put(VISION)
    await roster.put(LANGUAGE)
    assert roster.replicas == (LANGUAGE, VISION)


@in_virtual_time
async def test_it_counts_replicas_by_role() -> None:
    roster = Roster()
    for entry in (VISION, replica("vision-1"), LANGUAGE):
        await roster.put(entry)
    assert [roster.count(role) for role in (ReplicaRole.VISION, ReplicaRole.LANGUAGE)] == [2, 1]


@in_virtual_time
async def test_replicas_may_be_counted_while_another_joins() -> None:
    roster = Roster()

    class Joining:
        """Makes another replica join while it is counted, as the metrics' thread may see it."""

        name = "vision-9"

        @property
        def role(self) -> ReplicaRole:
            with suppress(StopIteration):
                roster.put(replica("vision-1")).send(None)
            return ReplicaRole.VISION

    await roster.put(Joining())
    assert roster.count(ReplicaRole.VISION) == 1
    assert roster.count(ReplicaRole.VISION) == 2


@in_virtual_time
async def test_a_later_incarnation_replaces_an_earlier_one() -> None:
    roster = Roster()
    await roster.put(VISION)
    await roster.put(replica("vision-0", "second"))
    assert roster.replicas == (replica("vision-0", "second"),)


@in_virtual_time
async def test_who_is_removed_is_gone_and_strangers_do_not_matter() -> None:
    roster = Roster()
    await roster.put(VISION)
    await roster.remove("vision-0")
    await roster.remove("vision-9")
    assert roster.replicas == ()


@in_virtual_time
async def test_waiting_ends_when_the_condition_holds() -> None:
    roster = Roster()
    both = asyncio.create_task(roster.wait_for(lambda: len(roster.replicas) == 2))
    await roster.put(VISION)
    await settle()
    assert not both.done()
    await roster.put(LANGUAGE)
    await both


@in_virtual_time
async def test_only_a_real_change_is_a_change() -> None:
    roster = Roster()
    await roster.put(VISION)
    changed = asyncio.create_task(roster.changed_from(roster.replicas))
    await roster.put(VISION)
    await roster.remove("language-0")
    await settle()
    assert not changed.done()
    await roster.remove("vision-0")
    await changed


async def test_a_router_gets_the_roster_now_and_after_every_change() -> None:
    roster = Roster()
    await roster.put(VISION)
    async with serving(ADD, RosterServicer(roster)) as loopback:
        rosters = watch(loopback.channel)
        assert names(await anext(rosters)) == [("vision-0", "first")]
        await roster.put(LANGUAGE)
        assert names(await anext(rosters)) == [("language-0", "first"), ("vision-0", "first")]
        await roster.put(replica("vision-0", "second"))
        assert names(await anext(rosters)) == [("language-0", "first"), ("vision-0", "second")]
        await roster.remove("language-0")
        assert names(await anext(rosters)) == [("vision-0", "second")]


async def test_an_empty_roster_is_told_too() -> None:
    async with serving(ADD, RosterServicer(Roster())) as loopback:
        assert names(await anext(watch(loopback.channel))) == []


async def test_an_entry_crosses_the_wire_whole() -> None:
    roster = Roster()
    await roster.put(LANGUAGE)
    async with serving(ADD, RosterServicer(roster)) as loopback:
        (entry,) = (await anext(watch(loopback.channel))).replicas
    assert entry == replica_pb2.Replica(
        name="language-0",
        role=replica_pb2.REPLICA_ROLE_LANGUAGE,
        incarnation="first",
        address="language-0:1",
        metrics_address="language-0:2",
        fingerprint="fingerprint",
    )


async def test_every_router_gets_every_roster() -> None:
    roster = Roster()
    async with serving(ADD, RosterServicer(roster)) as loopback:
        watches = [watch(loopback.channel) for _ in range(3)]
        for rosters in watches:
            assert names(await anext(rosters)) == []
        await roster.put(VISION)
        for rosters in watches:
            assert names(await anext(rosters)) == [("vision-0", "first")]
