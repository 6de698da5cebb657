"""What an actor does with its replica: one start, one sentence where there is none, one end."""

import threading
from pathlib import Path

import pytest

from common.errors import CheckpointError, RankLostError
from common.hosted_replica import HostedReplica
from common.replica_server import ReplicaSpec
from common.types import ReplicaAddress, ReplicaRole

SPEC = ReplicaSpec("vision-0", Path("model"), "cpu", drain_seconds=7.0)


class FakeReplica:
    """Notes what is asked of it, and in which thread."""

    def __init__(self) -> None:
        self.threads = [threading.current_thread().name]
        self.hosts: list[str] = []
        self.graces: list[float] = []

    async def start(self, host: str) -> ReplicaAddress:
        self.threads.append(threading.current_thread().name)
        self.hosts.append(host)
        return ReplicaAddress("vision-0", ReplicaRole.VISION, "i", f"{host}:1", f"{host}:2", "f")

    async def stop(self, grace_seconds: float) -> None:
        self.threads.append(threading.current_thread().name)
        self.graces.append(grace_seconds)


def node() -> str:
    return "10.0.0.1"


def broken() -> FakeReplica:
    raise CheckpointError("The model directory is wrong.")


def without_a_rank() -> FakeReplica:
    raise RankLostError("A rank has ended.")


async def test_it_starts_once_however_often_it_is_asked() -> None:
    replica = FakeReplica()
    hosted = HostedReplica(SPEC, lambda: replica)
    first = await hosted.serve(node)
    assert await hosted.serve(node) is first
    assert replica.hosts == ["10.0.0.1"]


async def test_a_host_that_it_is_told_wins_over_that_of_its_node() -> None:
    replica = FakeReplica()
    spec = ReplicaSpec("vision-0", Path("model"), "cpu", "127.0.0.1")
    address = await HostedReplica(spec, lambda: replica).serve(node)
    assert address.address == "127.0.0.1:1"


async def test_it_is_built_served_and_stopped_in_one_thread() -> None:
    made: list[FakeReplica] = []

    def build() -> FakeReplica:
        made.append(FakeReplica())
        return made[0]

    hosted = HostedReplica(SPEC, build)
    await hosted.serve(node)
    await hosted.stop(3.0)
    hosted.drain()
    assert made[0].graces == [3.0, 7.0]
    assert made[0].threads == ["serving"] * 4


async def test_what_cannot_be_built_is_told_to_everybody_who_asks() -> None:
    hosted = HostedReplica(SPEC, broken)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="The model directory is wrong"):
            await hosted.serve(node)


async def test_what_was_never_built_may_be_stopped() -> None:
    hosted = HostedReplica(SPEC, broken)
    await hosted.stop(1.0)
    hosted.drain()


def test_a_lost_rank_is_not_kept_for_later() -> None:
    with pytest.raises(RankLostError):
        HostedReplica(SPEC, without_a_rank)
