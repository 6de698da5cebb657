"""A whole cluster in one process in which replicas die at exact messages, one at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from common.types import ReplicaAddress, ReplicaRole
from deploy.client import Answer
from protos.dvd.v1 import inference_pb2
from tests.integration.dying_replica import DyingReplica, Fate
from tests.integration.idle import wait_until_idle
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster

PATIENCE_SECONDS = 30.0


@dataclass
class Mortal:
    """A cluster whose replicas die when their fate has it.

    Attributes:
        cluster: All of it.
        fate: Whom it takes, and when.
        real: The roster's entries of the real replicas that stand behind.
        fronts: What stands for them now.
    """

    cluster: LocalCluster
    fate: Fate
    real: list[ReplicaAddress]
    fronts: list[DyingReplica] = field(default_factory=list)

    @property
    def num_tiles(self) -> int:
        """Tiles that were encoded so far."""
        return sum(each.engine.stats.num_tiles for each in self.cluster.visions)

    async def revive(self) -> None:
        """Let all live, and wait until the router knows it."""
        alive = [front for front in self.fronts if not front.is_dead]
        names = {front.entry.name for front in alive}
        born = [DyingReplica(entry, self.fate) for entry in self.real if entry.name not in names]
        for front in born:
            await front.start()
            await self.cluster.roster.put(front.entry)
        self.fronts = alive + born
        places = {front.entry for front in self.fronts}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not places <= self._up():
                await self.cluster.client.model()

    def _up(self) -> set[ReplicaAddress]:
        router = self.cluster.router
        pooled = (*router.visions.replicas, *router.languages.replicas)
        return {each.address for each in pooled if each.is_up}

    async def answer(
        self, request: inference_pb2.GenerateRequest, num_messages: int | None = None
    ) -> Answer:
        """Answer; whoever answers first dies behind so many messages."""
        await self.revive()
        self.fate.messages_left, deaths = num_messages, self.fate.num_deaths
        answer = await self.cluster.client.answer(request)
        assert self.fate.num_deaths - deaths == (num_messages is not None)
        await wait_until_idle(self.cluster)
        return answer


@asynccontextmanager
async def mortal_cluster(model_dir: Path, *roles: ReplicaRole) -> AsyncIterator[Mortal]:
    """Two replicas of each role, those of the given roles mortal."""
    async with local_cluster(model_dir, ClusterOptions(num_vision=2, num_language=2)) as cluster:
        real = [entry for entry in cluster.roster.replicas if entry.role in roles]
        made = Mortal(cluster, Fate(), real)
        await made.revive()
        yield made
        for front in made.fronts:
            await front.stop()
