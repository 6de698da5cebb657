"""Does anything get lost, doubled or wrong while processes die and networks fail.

    python -m benchmarks.chaos --seeds 10 --requests 500 --json chaos.json

A cluster of processes: two replicas of each role, two routers, a relay in front of every replica.
While clients ask what has a known answer, greedy or seeded, in float32, processes are killed,
networks slowed, cut and silenced, queues filled. Some clients leave, some are in too much of a
hurry. All is drawn from a seed, though its timing is that of the machine.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.chaos_cluster import ChaosCluster, ChaosReplica, ChaosRouter
from benchmarks.chaos_replica import ReplicaOrder
from benchmarks.chaos_requests import Case, Client, Ended, answer_undisturbed
from benchmarks.chaos_tally import Tally, report
from common.config import LanguageServiceConfig, RouterConfig, VisionServiceConfig
from common.types import ReplicaRole
from deploy.client import InferenceClient
from training.build_checkpoint import CheckpointOptions, build_checkpoint

NUM_EACH, NUM_ROUTERS = 2, 2
CLIENTS, BURST = 10, 40
VISION = VisionServiceConfig(feature_cache_bytes=8 << 20)
LANGUAGE = LanguageServiceConfig(
    kv_tokens=8192, max_context_tokens=2048, sender_silence_seconds=2.0
)
ROUTER = RouterConfig(grpc_port=0, max_requests=16)
SHORTEST_CALM_SECONDS, LONGEST_CALM_SECONDS = 0.2, 1.5
# Now and then the last one of a kind is killed as well.
OUTAGE = 0.04


class Chaos:
    """Draws what fails next, and counts it.

    Attributes:
        counts: What was done.
    """

    def __init__(self, cluster: ChaosCluster, source: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._random = source
        self._busy: set[str] = set()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Let things fail until cancelled."""
        kinds = [self._kill_replica] * 5 + [self._kill_router] * 2
        kinds += [self._silence] * 2 + [self._slow_down] * 2 + [self._cut] * 2
        while True:
            calm = self._random.uniform(SHORTEST_CALM_SECONDS, LONGEST_CALM_SECONDS)
            await asyncio.sleep(calm)
            self._random.choice(kinds)()

    async def settle(self) -> None:
        """Wait until everybody is back."""
        while self._under_way:
            await asyncio.gather(*self._under_way)

    def _kill_replica(self) -> None:
        replica = self._random.choice(self._cluster.replicas)
        if self._may_fail(replica.order.role, replica.order.name):
            what = f"{replica.order.role} replicas killed"
            self._begin(what, replica.order.name, self._kill_and_start(replica))

    def _kill_router(self) -> None:
        router = self._random.choice(self._cluster.routers)
        if self._may_fail("router", router.name):
            self._begin("routers killed", router.name, self._kill_and_start(router))

    def _silence(self) -> None:
        replica = self._random.choice(self._cluster.replicas)
        if self._may_fail(replica.order.role, replica.order.name):
            seconds = self._random.uniform(0.5, 4.0)
            self._begin("replicas partitioned", replica.order.name, replica.silence(seconds))

    def _slow_down(self) -> None:
        replica = self._random.choice(self._cluster.replicas)
        if replica.order.name not in self._busy:
            delay, seconds = self._random.uniform(0.01, 0.1), self._random.uniform(1.0, 3.0)
            slow = replica.slow_down(delay, seconds)
            self._begin("links slowed", replica.order.name, slow)

    def _cut(self) -> None:
        replica = self._random.choice(self._cluster.replicas)
        if replica.order.name not in self._busy:
            self.counts["connections cut"] += 1
            replica.relay.cut()

    async def _kill_and_start(self, member: ChaosReplica | ChaosRouter) -> None:
        await member.kill()
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        await member.start()

    def _may_fail(self, kind: str, name: str) -> bool:
        """Whether it may: it is not failing already, and it is not the last of its kind."""
        if name in self._busy:
            return False
        others = [other for other in self._cluster.kinds.healthy(kind) if other != name]
        return bool(others) or self._random.random() < OUTAGE

    def _begin(self, what: str, name: str, failing: Coroutine[Any, Any, None]) -> None:
        self.counts[what] += 1
        self._busy.add(name)
        task = asyncio.create_task(failing)
        self._under_way.add(task)

        def over(done: asyncio.Task[None]) -> None:
            self._busy.discard(name)
            self._under_way.discard(done)

        task.add_done_callback(over)


async def run_seed(seed: int, cases: list[Case], num_requests: int, model_dir: Path) -> Tally:
    """Run one seed on a fresh cluster."""
    source = random.Random(seed)  # noqa: S311
    cluster = ChaosCluster(replica_orders(model_dir), ROUTER, NUM_ROUTERS)
    await cluster.start()
    client = InferenceClient(*(router.address for router in cluster.routers))
    chaos = Chaos(cluster, source)
    failing = asyncio.create_task(chaos.run())
    try:
        ended = await ask_all(Client(client, source), cases, num_requests, source)
    finally:
        failing.cancel()
        with suppress(asyncio.CancelledError):
            await failing
        await chaos.settle()
        await client.close()
        await cluster.stop()
    tally = Tally(failures=chaos.counts)
    tally.add(ended, cluster.kinds)
    return tally


async def ask_all(
    client: Client, cases: list[Case], num_requests: int, source: random.Random
) -> list[Ended]:
    """Ask so often, a few at a time and now and then many."""
    room = asyncio.Semaphore(CLIENTS)

    async def ask(case: Case, is_patient: bool) -> Ended:
        if not is_patient:
            return await client.ask(case)
        async with room:
            return await client.ask(case)

    asked: list[asyncio.Task[Ended]] = []
    while len(asked) < num_requests:
        is_burst = source.random() < 0.01
        for _ in range(BURST if is_burst else 1):
            asked.append(asyncio.create_task(ask(source.choice(cases), not is_burst)))
        while sum(not task.done() for task in asked) > CLIENTS + BURST:
            await asyncio.wait(
                [task for task in asked if not task.done()], return_when=asyncio.FIRST_COMPLETED
            )
    return list(await asyncio.gather(*asked))


async def measure(num_seeds: int, first_seed: int, num_requests: int, folder: Path) -> Tally:
    """Run all seeds."""
    build_checkpoint(folder, CheckpointOptions(dtype="float32"))
    cases = await answer_undisturbed(folder, LANGUAGE)
    total = Tally()
    for seed in range(first_seed, first_seed + num_seeds):
        began = time.monotonic()
        tally = await run_seed(seed, cases, num_requests, folder)
        total.outcomes += tally.outcomes
        total.excused += tally.excused
        total.worst += tally.worst
        total.failures += tally.failures
        told = ", ".join(f"{count} {outcome}" for outcome, count in tally.outcomes.items())
        print(f"seed {seed}: {time.monotonic() - began:.0f} s, {told}", flush=True)
    return total


def replica_orders(model_dir: Path) -> list[ReplicaOrder]:
    """Name the replicas of a fresh cluster."""
    return [
        ReplicaOrder(role, f"{role}-{index}", model_dir, VISION, LANGUAGE)
        for role in (ReplicaRole.VISION, ReplicaRole.LANGUAGE)
        for index in range(NUM_EACH)
    ]


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them")
    parser.add_argument("--requests", type=int, default=500, help="of each seed, at least")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = asyncio.run(
            measure(arguments.seeds, arguments.first_seed, arguments.requests, Path(folder))
        )
    result = report(tally, arguments.seeds)
    result.report(arguments.json)


if __name__ == "__main__":
    main()
