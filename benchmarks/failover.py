"""How long does a client wait when the replica that answers it is killed.

    python -m benchmarks.failover --repeat 3 --json failover.json

A real cluster under its supervisor: Ray, two language replicas, two vision replicas, one router,
each a process of its own. A client asks about pictures; at a given token the language replica that
answers gets SIGKILL. The gap is the longest time between two tokens from then on; an undisturbed
answer before each shows what is usual. Both answers must be equal, and the vision stage must have
nothing to do for the second half. Ray starts the lost replica again before the next round.

A killed process resets its connections, which is noticed at once. A host that loses power does not:
that takes `router.health.silence_seconds`, and is not measured here.
"""

import argparse
import asyncio
import itertools
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.listening_process import listening_pid
from common.result import Goal, Result
from common.types import ReplicaAddress, ReplicaRole
from deploy.client import InferenceClient, ask_about
from deploy.config import DeployConfig, load_config
from deploy.ray_environment import prepare_ray
from deploy.roster import Roster
from protos.dvd.v1 import inference_pb2
from router.server import RouterReady
from tests.integration.metrics import scrape

QUESTION = "Describe both pictures."
PICTURES = Path("examples/pictures")
MAX_TOKENS = 192
POSITIONS = (1, 32, 96, 160)
RESTART_SECONDS = 120.0
NUM_REPLICAS = 2


@dataclass(slots=True)
class Timed:
    """One answer, and when its tokens came.

    Attributes:
        token_ids: The answer.
        came_at: Seconds on the monotonic clock, one for each token.
        num_before: Tokens that had come when the replica was killed.
    """

    token_ids: list[int] = field(default_factory=list)
    came_at: list[float] = field(default_factory=list)
    num_before: int = 0

    @property
    def gap_seconds(self) -> float:
        """Longest time between two tokens, from the last one before the kill."""
        times = self.came_at[max(self.num_before - 1, 0) :]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


class Victims:
    """A cluster, its client, and the hand that kills.

    Args:
        router: Of a running cluster.
        roster: Its replicas, as they come and go.
    """

    def __init__(self, router: RouterReady, roster: Roster) -> None:
        self.client = InferenceClient(router.address)
        self._router = router
        self._roster = roster
        self._killed: set[ReplicaAddress] = set()

    async def answer(self, kill_at: int | None = None) -> Timed:
        """Ask once; kill whoever answers when so many tokens have come."""
        timed = Timed()
        async for event in self.client.stream(asking()):
            for token_id in event.delta.token_ids:
                timed.token_ids.append(token_id)
                timed.came_at.append(time.monotonic())
                if len(timed.token_ids) == kill_at:
                    timed.num_before = kill_at
                    await self._kill_busy()
        return timed

    async def wait_until_whole(self) -> None:
        """Wait until the router uses every replica again."""
        async with asyncio.timeout(RESTART_SECONDS):
            await self._roster.wait_for(self._is_whole)
            # The router follows the roster; each look is one call to it apart.
            while await asyncio.to_thread(self._num_up) < NUM_REPLICAS:
                await self.client.model()

    def _is_whole(self) -> bool:
        return len(self._languages()) == NUM_REPLICAS and not self._killed & set(self._languages())

    def _num_up(self) -> float:
        return scrape(self._router.metrics_address)["dvd_replicas_up language"]

    async def _kill_busy(self) -> None:
        for entry in self._languages():
            samples = await asyncio.to_thread(scrape, entry.metrics_address)
            if samples["dvd_num_requests_running"]:
                os.kill(listening_pid(entry.address), signal.SIGKILL)
                self._killed.add(entry)
                return
        raise RuntimeError("The answer was over before its replica could be killed.")

    def _languages(self) -> list[ReplicaAddress]:
        return [each for each in self._roster.replicas if each.role is ReplicaRole.LANGUAGE]


def asking() -> inference_pb2.GenerateRequest:
    """A long answer about two pictures."""
    pictures = sorted(PICTURES.glob("*.png"))[:2]
    request = ask_about(pictures, QUESTION, MAX_TOKENS)
    request.sampling.ignore_eos = True
    return request


def configuration() -> DeployConfig:
    """A cluster on this machine with the shipped model."""
    return load_config(
        None,
        {
            "router.grpc_port": 0,
            "vision.placement.replicas": NUM_REPLICAS,
            "language.placement.replicas": NUM_REPLICAS,
            "language.placement.max_restarts": 100,
        },
    )


@asynccontextmanager
async def cluster() -> AsyncIterator[Victims]:
    """Run one for the length of the context."""
    settings = configuration()
    prepare_ray(settings.ray)
    from deploy.supervisor import Supervisor  # noqa: PLC0415  # it imports Ray

    supervisor = Supervisor(settings)
    try:
        victims = Victims((await supervisor.start()).router, supervisor.roster)
        yield victims
        await victims.client.close()
    finally:
        await supervisor.stop()


async def measure(repeat: int, result: Result) -> None:
    """Kill at every position, so many times; every other answer is left in peace."""
    gaps: list[float] = []
    async with cluster() as victims:
        await victims.answer()
        for round_number in range(repeat):
            for position in POSITIONS:
                await victims.wait_until_whole()
                usual = await victims.answer()
                killed = await victims.answer(position)
                gaps.append(killed.gap_seconds)
                result.rows.append(
                    {
                        "round": round_number + 1,
                        "killed at token": position,
                        "gap seconds": killed.gap_seconds,
                        "usual gap seconds": usual.gap_seconds,
                        "equal": killed.token_ids == usual.token_ids,
                    }
                )
    name = "gap a client sees when its language replica dies, p50 seconds"
    result.goals.append(Goal(name, statistics.median(gaps), 2.0, "lower"))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3, help="rounds over all positions")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    result = Result()
    asyncio.run(measure(arguments.repeat, result))
    result.report(arguments.json)


if __name__ == "__main__":
    main()
