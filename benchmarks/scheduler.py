"""How well do the router's own placement policies schedule, up to ten thousand replicas.

    python -m benchmarks.scheduler --json scheduler.json
    python -m benchmarks.scheduler --large

The policies of `router.policies` run under a virtual clock against simulated replicas: pictures
with a heavy tail of sizes, Poisson arrivals, a cost that is known only about, two routers that do
not know of each other, load reports ten times a second that arrive late. The yardstick is an ideal
central queue, from which whichever replica is free takes the next picture; the same pictures pass
through it at the same times. Response time is waiting and service; its 99th percentile is over the
pictures that arrive after a tenth of the run. A goal is the median over seeds.

Only the time of a decision is a real one. `--large` adds a million pictures over ten thousand.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.scheduler_case import Case
from benchmarks.simulated_fleet import Failure, Scenario, SimulatedFleet, central_queue
from benchmarks.simulated_replica import Job
from benchmarks.simulated_traffic import Traffic, make_jobs
from common.config import PlacementConfig
from common.result import Goal, Result
from router.fleet import Fleet
from router.policies import Ask, make_policy

POLICIES = ("least_work", "power_of_two", "round_robin", "affinity")
TILES_PER_SECOND = 100.0
HELD_PICTURES = 300
NUM_PICTURES = 5_000
WARM_UP_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run gave.

    Attributes:
        p99_seconds: Response time.
        ideal_p99_seconds: The same from the central queue.
        slow_share: Work that the first replica did, as a share of what its rate entitles it to.
    """

    p99_seconds: float
    ideal_p99_seconds: float
    slow_share: float

    @property
    def ratio(self) -> float:
        """To the central queue."""
        return self.p99_seconds / self.ideal_p99_seconds


class Benchmark:
    """Runs scenarios and keeps their rows.

    Args:
        result: Gets rows and goals.
        scale: Shrinks every run, to show only that it runs.
    """

    def __init__(self, result: Result, scale: float) -> None:
        self._result = result
        self._scale = scale

    def central(self) -> None:
        """Beside the ideal central queue, with one, two and four routers."""
        first = (
            "p99 response time (wait + service) vs an ideal central queue, 8 replicas, load 0.8, "
            "least_work"
        )
        for name, num_replicas, num_jobs, seeds, target in (
            (first, 8, 40_000, (1, 2, 3), 1.3),
            ("the same with 1,000 replicas", 1_000, 120_000, (1, 2), 1.05),
        ):
            ratios = [self._run(Case(num_replicas, num_jobs, seed=seed)).ratio for seed in seeds]
            self._goal(name, statistics.median(ratios), target)
            for num_routers in (1, 4):
                self._run(Case(num_replicas, num_jobs // 3, num_routers=num_routers))

    def skew(self) -> None:
        """Pictures that are asked for again and again, with and without replicas that keep them."""
        ratios = []
        for seed in (1, 2, 3):
            seconds = {
                policy: self._run(
                    Case(8, 30_000, policy, seed, held=HELD_PICTURES, num_pictures=NUM_PICTURES)
                ).p99_seconds
                for policy in ("affinity", "round_robin")
            }
            ratios.append(seconds["affinity"] / seconds["round_robin"])
        self._goal(
            "p99 response time of affinity vs round_robin, skewed pictures",
            statistics.median(ratios), 1.02,
        )  # fmt: skip
        for policy in POLICIES:
            self._run(Case(8, 15_000, policy, num_pictures=NUM_PICTURES))

    def slow_replica(self) -> None:
        """One replica four times slower than the others."""
        errors = []
        for seed in (1, 2, 3):
            outcome = self._run(Case(8, 40_000, seed=seed, slow=True))
            errors.append(abs(outcome.slow_share - 1))
        self._goal(
            "share of work given to the 4× slower replica vs its measured share, relative error",
            statistics.median(errors), 0.1,
        )  # fmt: skip

    def failures(self) -> None:
        """Replicas that are lost with what they hold, one after the other, and come back."""
        for policy in ("least_work", "affinity"):
            self._run(Case(8, 30_000, policy, load=0.6, fails=True))

    def decision(self, num_replicas: int = 10_000, num_decisions: int = 2_000) -> None:
        """Time of one decision and its booking, by policy, taking turns."""
        fleets = {name: _busy_fleet(num_replicas) for name in POLICIES}
        policies = {name: make_policy(PlacementConfig(), name, seed=1) for name in POLICIES}
        micros: dict[str, list[float]] = {name: [] for name in POLICIES}
        for number in range(num_decisions):
            for name, policy in policies.items():
                fleet, ask, now = fleets[name], Ask(5, number * 0x9E3779B9), number * 1e-4
                began = time.perf_counter()
                member = policy.choose(fleet, ask, now)
                fleet.place(member, ask.work, now)
                micros[name].append((time.perf_counter() - began) * 1e6)
        for name, times in micros.items():
            self._row(
                f"decision, {name}", num_replicas, p50_us=statistics.median(times),
                p99_us=float(np.percentile(times, 99)),
            )  # fmt: skip
        self._goal(
            f"one decision with {num_replicas:,} replicas, µs",
            statistics.median(micros["least_work"]), 100,
        )  # fmt: skip

    def large(self) -> None:
        """Ten thousand replicas, a million pictures."""
        self._run(Case(10_000, 1_000_000))

    def _run(self, case: Case) -> Outcome:
        began = time.perf_counter()
        rates = [TILES_PER_SECOND] * case.num_replicas
        rates[0] /= 4 if case.slow else 1
        traffic = Traffic(
            max(int(case.num_jobs * self._scale), 1_000), case.load, case.num_pictures
        )
        jobs = make_jobs(traffic, sum(rates), case.seed)
        scenario = Scenario(
            rates=rates,
            make_policy=case.make_policy,
            num_routers=case.num_routers,
            held_pictures=case.held,
            failures=_failures(jobs, case.num_replicas) if case.fails else (),
        )
        draws = np.random.default_rng(case.seed + 1_000)
        routers = [int(each) for each in draws.integers(0, case.num_routers, len(jobs))]
        keys = [int(each) for each in draws.integers(0, 1 << 63, case.num_replicas)]
        SimulatedFleet(scenario, jobs, routers, keys).run()
        outcome = _outcome(jobs, rates)
        self._row(
            case.policy, case.num_replicas, load=case.load, routers=case.num_routers,
            traffic=case.words, seed=case.seed, p99_seconds=outcome.p99_seconds,
            ratio=outcome.ratio, first_share=outcome.slow_share,
            run_seconds=time.perf_counter() - began,
        )  # fmt: skip
        return outcome

    def _row(self, what: str, num_replicas: int, **figures: float | str) -> None:
        columns = (
            "load", "routers", "traffic", "seed", "p99_seconds", "ratio", "first_share",
            "run_seconds", "p50_us", "p99_us",
        )  # fmt: skip
        row = {"what": what, "replicas": num_replicas}
        self._result.rows.append(row | {name: figures.get(name) for name in columns})

    def _goal(self, name: str, value: float, target: float) -> None:
        self._result.goals.append(Goal(name, value, target, "lower"))


def _failures(jobs: Sequence[Job], num_replicas: int) -> list[Failure]:
    """Every replica once, evenly over the run, each gone for a twentieth of it."""
    span = jobs[-1].arrives_at
    return [
        Failure(replica, span * (replica + 1) / (num_replicas + 1), span / 20)
        for replica in range(num_replicas)
    ]


def _outcome(jobs: Sequence[Job], rates: Sequence[float]) -> Outcome:
    first = int(len(jobs) * WARM_UP_SHARE)
    if any(not job.finished_at for job in jobs):
        raise AssertionError("a picture was lost")
    measured = jobs[first:]
    seconds = [job.finished_at - job.arrives_at for job in measured]
    ideal = central_queue(jobs, rates)[first:]
    share = sum(j.work for j in measured if j.replica == 0) / sum(j.work for j in measured)
    return Outcome(
        p99_seconds=float(np.percentile(seconds, 99)),
        ideal_p99_seconds=float(np.percentile(ideal, 99)),
        slow_share=share * sum(rates) / rates[0],
    )


def _busy_fleet(num_replicas: int) -> Fleet:
    fleet = Fleet(seed=1)
    draws = np.random.default_rng(1)
    for index, (key, work) in enumerate(
        zip(draws.integers(0, 1 << 63, num_replicas), draws.integers(1, 50, num_replicas),
            strict=True)
    ):  # fmt: skip
        member = fleet.join(str(index), int(key), 0.0)
        fleet.set_up(member, is_up=True)
        fleet.place(member, int(work), 0.0)
    return fleet


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="runs that only show that it runs")
    parser.add_argument("--large", action="store_true", help="10,000 replicas, a million pictures")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    result = Result()
    benchmark = Benchmark(result, 0.02 if arguments.tiny else 1.0)
    steps: list[Callable[[], None]] = [
        benchmark.decision,
        benchmark.central,
        benchmark.skew,
        benchmark.slow_replica,
        benchmark.failures,
    ]
    if arguments.large:
        steps.append(benchmark.large)
    for step in steps:
        step()
    result.report(arguments.json)


if __name__ == "__main__":
    main()
