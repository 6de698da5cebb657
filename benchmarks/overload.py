"""What does a router under too much load do: how soon does it refuse, how much does it still do.

    python -m benchmarks.overload --json overload.json

A real router process with its default bounds stands before two vision and two language replicas
that take their time and compute nothing, so that what is measured is the router. Requests have a
picture and a deadline and come open-loop, at Poisson times, as a share of what the language
replicas can do; whoever is refused does not come again. Goodput is answers that end by their
deadline a second. Loads take turns within each repetition; the peak is the best of them, by its
median over repetitions.

Times are wall times, and a machine with other things to do makes them long: how much too late this
program itself wakes up is in the rows, beside the times to a refusal.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.timed_replicas import TimedLanguage, TimedVision
from common.config import RouterConfig
from common.errors import DeadlineExpiredError, OverloadedError
from common.model_files import fingerprint
from common.result import Goal, Result
from common.rpc import RpcServer
from common.types import ReplicaAddress, ReplicaRole
from deploy.client import InferenceClient
from deploy.roster import SERVICE_NAME, Roster, RosterServicer
from deploy.router_process import RouterProcess
from protos.dvd.v1 import (
    inference_pb2,
    language_pb2_grpc,
    replica_pb2,
    replica_pb2_grpc,
    vision_pb2_grpc,
)
from router.server import RouterSettings
from tests import pictures
from tests.integration.requests import wire_request
from tests.reference.conversation import user
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO

HOST = "127.0.0.1"
START_SECONDS = 60.0
NUM_REPLICAS = 2
SLOTS = 4
ANSWER_SECONDS = 0.4
CAPACITY = NUM_REPLICAS * SLOTS / ANSWER_SECONDS
DEADLINE_SECONDS = 3.0
LOADS = (0.5, 0.75, 1.0, 1.5, 3.0)
OVERLOAD = 3.0
NUM_PICTURES = 64


@dataclass(slots=True)
class Outcome:
    """What became of the requests of one load in one repetition.

    Attributes:
        seconds: From the first arrival to the last.
        answered: Ended by their deadline.
        expired: Did not.
        refusal_seconds: From the call to its refusal, for each that was refused.
        late_seconds: For each request how much too late this program woke up for it.
    """

    seconds: float = 0.0
    answered: int = 0
    expired: int = 0
    refusal_seconds: list[float] = field(default_factory=list)
    late_seconds: list[float] = field(default_factory=list)

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds


@asynccontextmanager
async def router_before_timed_replicas(model_dir: Path) -> AsyncIterator[InferenceClient]:
    """Run a router process and its replicas for the length of the context."""
    roster, model = Roster(), fingerprint(model_dir)
    arrivals: dict[str, asyncio.Event] = {}
    async with AsyncExitStack() as running:

        async def serve(add: object, servicer: object, name: str) -> str:
            rpc = RpcServer()
            add(servicer, rpc.server)  # type: ignore[operator]
            port = await rpc.start(f"{HOST}:0", [name])
            running.push_async_callback(rpc.stop, 0)
            return f"{HOST}:{port}"

        add_roster = replica_pb2_grpc.add_RosterServiceServicer_to_server
        supervisor = await serve(add_roster, RosterServicer(roster), SERVICE_NAME)
        who = replica_pb2.Replica(incarnation="first", fingerprint=model)
        for index in range(NUM_REPLICAS):
            vision = TimedVision(who, arrivals)
            language = TimedLanguage(who, arrivals, SLOTS, ANSWER_SECONDS, seed=index)
            add_vision = vision_pb2_grpc.add_VisionServiceServicer_to_server
            add_language = language_pb2_grpc.add_LanguageServiceServicer_to_server
            for role, address in (
                (ReplicaRole.VISION, await serve(add_vision, vision, "vision")),
                (ReplicaRole.LANGUAGE, await serve(add_language, language, "language")),
            ):
                await roster.put(
                    ReplicaAddress(f"{role}-{index}", role, "first", address, "", model)
                )
        settings = RouterSettings(
            config=RouterConfig(grpc_port=0),
            model_name="timed",
            model_dir=model_dir,
            fingerprint=model,
            max_context_tokens=4096,
            supervisor=supervisor,
            drain_seconds=0.0,
        )
        router = await RouterProcess.start(settings, START_SECONDS)
        running.push_async_callback(router.stop)
        client = InferenceClient(router.ready.address)
        running.push_async_callback(client.close)
        yield client


async def ask(
    client: InferenceClient, request: inference_pb2.GenerateRequest, outcome: Outcome
) -> None:
    """Ask once; note how it ends."""
    began = time.perf_counter()
    try:
        await client.answer(request, DEADLINE_SECONDS)
    except OverloadedError:
        outcome.refusal_seconds.append(time.perf_counter() - began)
    except DeadlineExpiredError:
        outcome.expired += 1
    else:
        outcome.answered += 1


async def offer(
    client: InferenceClient,
    requests: list[inference_pb2.GenerateRequest],
    load: float,
    seconds: float,
    draws: random.Random,
) -> Outcome:
    """Offer one load for so long, and wait until all is answered or not."""
    outcome, began = Outcome(), time.monotonic()
    due = began
    async with asyncio.TaskGroup() as asked:
        while due < began + seconds:
            due += draws.expovariate(load * CAPACITY)
            await asyncio.sleep(due - time.monotonic())
            outcome.late_seconds.append(max(time.monotonic() - due, 0.0))
            asked.create_task(ask(client, draws.choice(requests), outcome))
        outcome.seconds = time.monotonic() - began
    return outcome


async def measure(arguments: argparse.Namespace, result: Result) -> None:
    """Offer all loads in turns; fill in rows and goals."""
    draws = random.Random(arguments.seed)  # noqa: S311 - arrivals, no secret
    asked = [(pictures.grid(1, 1, seed), "What is this?") for seed in range(NUM_PICTURES)]
    requests = [wire_request((user(*each),), 16) for each in asked]
    outcomes: dict[float, list[Outcome]] = {load: [] for load in LOADS}
    with tempfile.TemporaryDirectory() as folder:
        build_checkpoint(Path(folder), CheckpointOptions(shape=MICRO))
        async with router_before_timed_replicas(Path(folder)) as client:
            await offer(client, requests, 0.5, arguments.seconds, draws)
            for _ in range(arguments.repeat):
                for load in LOADS:
                    outcomes[load].append(
                        await offer(client, requests, load, arguments.seconds, draws)
                    )
    report(outcomes, result)


def report(outcomes: dict[float, list[Outcome]], result: Result) -> None:
    """Turn outcomes into rows and goals."""
    goodputs: dict[float, float] = {}
    for load, runs in outcomes.items():
        goodputs[load] = statistics.median(run.goodput for run in runs)
        refusals = [seconds * 1000 for run in runs for seconds in run.refusal_seconds]
        p99 = float(np.percentile(refusals, 99)) if refusals else None
        late = [seconds * 1000 for run in runs for seconds in run.late_seconds]
        result.rows.append(
            {
                "load": load,
                "offered_per_second": load * CAPACITY,
                "goodput_per_second": goodputs[load],
                "answered": sum(run.answered for run in runs),
                "refused": len(refusals),
                "expired": sum(run.expired for run in runs),
                "refusal_p50_ms": statistics.median(refusals) if refusals else None,
                "refusal_p99_ms": p99,
                "late_p99_ms": float(np.percentile(late, 99)),
            }
        )
        if load == OVERLOAD:
            result.goals.append(Goal("time to a refusal under overload, p99 ms", p99, 100, "lower"))
    goodput = goodputs[OVERLOAD] / max(goodputs.values())
    result.goals.append(Goal("goodput at 3× overload vs peak", goodput, 0.9, "higher"))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="turns of all loads")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one load")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    result = Result()
    asyncio.run(measure(arguments, result))
    result.report(arguments.json)


if __name__ == "__main__":
    main()
