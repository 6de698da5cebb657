"""Replicas, routers and reports under a virtual clock, placed on by the routers' own policy code.

A replica works its queue in order of arrival at a steady rate. Routers see it through reports that
are sent at most ten times a second and arrive late, as the real ones; what they place arrives late
too. A replica may hold pictures that it has encoded, which then cost it next to nothing, and it may
fail: its work is placed again once its router has noticed, and it comes back empty.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.simulated_replica import Job, SimulatedReplica, SimulatedRouter
from router.fleet_member import FleetMember, LoadSnapshot, Placement
from router.policies import Ask, Policy

REPORT_SECONDS = 0.1
HEARTBEAT_REPORTS = 10
NETWORK_SECONDS = 0.001
NOTICE_SECONDS = 0.05
HELD_PICTURE_COST = 0.02


@dataclass(frozen=True, slots=True)
class Failure:
    """A replica that is gone for a while."""

    replica: int
    at: float
    back_after_seconds: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    Attributes:
        rates: Of each replica, in tiles a second.
        make_policy: Makes the policy of the router with this index.
        num_routers: Jobs are spread over them at random.
        held_pictures: Pictures that each replica keeps; 0 for none.
        failures: Replicas that fail.
    """

    rates: Sequence[float]
    make_policy: Callable[[int], Policy]
    num_routers: int = 1
    held_pictures: int = 0
    failures: Sequence[Failure] = ()


class SimulatedFleet:
    """One run of a scenario.

    Args:
        scenario: What is simulated.
        jobs: In order of arrival.
        routers: For each job the router that it goes to.
        keys: For each replica the hash of its name.
    """

    def __init__(
        self, scenario: Scenario, jobs: Sequence[Job], routers: Sequence[int], keys: Sequence[int]
    ) -> None:
        self._scenario = scenario
        self._jobs = jobs
        self._router_of = routers
        self.replicas = [SimulatedReplica(i, rate) for i, rate in enumerate(scenario.rates)]
        self.routers = [
            SimulatedRouter(index, scenario.make_policy(index), keys)
            for index in range(scenario.num_routers)
        ]
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._next_event = 0
        self._left = len(jobs)

    def run(self) -> None:
        """Run until every job is done."""
        spacing = REPORT_SECONDS / len(self.replicas)
        for replica in self.replicas:
            self._at(replica.index * spacing, lambda now, each=replica: self._tick(each, now))
        for failure in self._scenario.failures:
            self._at(failure.at, lambda now, each=failure: self._fail(each, now))
        arrivals = iter(range(len(self._jobs)))
        arriving = next(arrivals, None)
        while self._left:
            while arriving is not None and self._jobs[arriving].arrives_at <= self._events[0][0]:
                job = self._jobs[arriving]
                self._place(job, self.routers[self._router_of[arriving]], job.arrives_at, ())
                arriving = next(arrivals, None)
            now, _, action = heapq.heappop(self._events)
            action(now)

    def _at(self, when: float, action: Callable[[float], None]) -> None:
        self._next_event += 1
        heapq.heappush(self._events, (when, self._next_event, action))

    def _place(
        self, job: Job, router: SimulatedRouter, now: float, avoid: tuple[FleetMember, ...]
    ) -> None:
        fleet = router.fleet
        member = router.policy.choose(fleet, Ask(job.tiles, job.key, avoid), now)
        placement = fleet.place(member, job.tiles, now)
        replica = self.replicas[int(member.name)]
        entry, epoch = (job, router, placement, member), replica.epoch
        self._at(now + NETWORK_SECONDS, lambda then: self._arrive(replica, epoch, entry, then))

    def _arrive(
        self,
        replica: SimulatedReplica,
        epoch: int,
        entry: tuple[Job, SimulatedRouter, Placement, FleetMember],
        now: float,
    ) -> None:
        if replica.epoch != epoch or not replica.is_up:
            self._place_again(entry, now)
            return
        replica.queue.append(entry)
        replica.outstanding += entry[0].work
        if len(replica.queue) == 1:
            self._begin(replica, now)

    def _begin(self, replica: SimulatedReplica, now: float) -> None:
        job = replica.queue[0][0]
        work = job.work
        if job.key in replica.held:
            replica.held.move_to_end(job.key)
            replica.outstanding -= work * (1 - HELD_PICTURE_COST)
            work *= HELD_PICTURE_COST
        elif self._scenario.held_pictures:
            replica.held[job.key] = None
            if len(replica.held) > self._scenario.held_pictures:
                replica.held.popitem(last=False)
        replica.running_since, replica.running_work = now, work
        epoch = replica.epoch
        self._at(now + work / replica.rate, lambda then: self._finish(replica, epoch, then))

    def _finish(self, replica: SimulatedReplica, epoch: int, now: float) -> None:
        if replica.epoch != epoch:
            return
        job, router, placement, member = replica.queue.popleft()
        work = replica.running_work
        replica.outstanding -= work
        replica.completed += work
        replica.busy_seconds += work / replica.rate
        job.finished_at, job.replica = now, replica.index
        self._left -= 1
        router.fleet.finish(member, placement)
        if replica.queue:
            self._begin(replica, now)

    def _tick(self, replica: SimulatedReplica, now: float) -> None:
        self._at(now + REPORT_SECONDS, lambda then: self._tick(replica, then))
        if not replica.is_up:
            return
        report = replica.snapshot(now)
        replica.silent_reports += 1
        if report == replica.last_report and replica.silent_reports < HEARTBEAT_REPORTS:
            return
        replica.last_report, replica.silent_reports = report, 0
        epoch = replica.epoch
        self._at(now + NETWORK_SECONDS, lambda then: self._tell(replica, epoch, report, then))

    def _tell(
        self, replica: SimulatedReplica, epoch: int, report: LoadSnapshot, now: float
    ) -> None:
        if replica.epoch == epoch:
            for router in self.routers:
                router.fleet.report(router.members[replica.index], report, now)

    def _fail(self, failure: Failure, now: float) -> None:
        replica = self.replicas[failure.replica]
        lost = list(replica.queue)
        replica.epoch += 1
        replica.is_up = False
        replica.queue.clear()
        replica.held.clear()
        replica.outstanding = 0.0
        self._at(now + NOTICE_SECONDS, lambda then: self._notice(replica, lost, then))
        self._at(now + failure.back_after_seconds, lambda then: self._come_back(replica, then))

    def _notice(
        self,
        replica: SimulatedReplica,
        lost: list[tuple[Job, SimulatedRouter, Placement, FleetMember]],
        now: float,
    ) -> None:
        for router in self.routers:
            router.fleet.leave(router.members[replica.index])
        for entry in lost:
            self._place_again(entry, now)

    def _place_again(
        self, entry: tuple[Job, SimulatedRouter, Placement, FleetMember], now: float
    ) -> None:
        job, router, placement, member = entry
        router.fleet.finish(member, placement)
        self._place(job, router, now, (member,))

    def _come_back(self, replica: SimulatedReplica, now: float) -> None:
        replica.is_up = True
        replica.completed = replica.busy_seconds = 0.0
        replica.last_report = None
        for router in self.routers:
            router.members[replica.index] = router.join(replica.index, now)


def central_queue(jobs: Sequence[Job], rates: Sequence[float]) -> list[float]:
    """Response times, in seconds, where the next job always takes the first free replica."""
    free = [(0.0, -rate) for rate in rates]
    heapq.heapify(free)
    seconds = []
    for job in jobs:
        free_at, negative_rate = free[0]
        done_at = max(free_at, job.arrives_at) + job.work / -negative_rate
        heapq.heapreplace(free, (done_at, negative_rate))
        seconds.append(done_at - job.arrives_at)
    return seconds
