"""What this router knows of the load of one replica: what it has placed there, what it was told.

The replica pushes reports, and other routers place work too, so between two reports the truth moves
on. Known for certain is only what this router has placed since the last report; the report itself
is taken to drain at the replica's measured rate, and what others add to it is expected from what
they have added lately. So the older a report is, the less it counts.
"""

from collections.abc import Callable
from dataclasses import dataclass

from router.best_rate import BestRate
from router.measured_rate import MeasuredRate

RATE_HALF_LIFE_SECONDS = 20.0
PRIOR_SECONDS = 1.0
OTHERS_HALF_LIFE_SECONDS = 0.5
# Work that was placed so shortly before a report may not be in it.
UNDERWAY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """What a replica reports.

    Attributes:
        outstanding_work: Work not yet done, by all routers, in the role's unit.
        completed_work: Work done since it started.
        busy_seconds: Time that it took.
        waiting_requests: Requests that have not been begun.
    """

    outstanding_work: int
    completed_work: int = 0
    busy_seconds: float = 0.0
    waiting_requests: int = 0


class Placement:
    """One piece of work that this router has placed on a replica."""

    __slots__ = ("is_reported", "placed_at", "work")

    def __init__(self, work: float, placed_at: float) -> None:
        self.work = work
        self.placed_at = placed_at
        self.is_reported = False


class FleetMember:
    """One replica's load; `Fleet` keeps it in a row of its table.

    Attributes:
        name: Of the replica.
        row: In the fleet's table.
        is_up: Whether it takes work.
        placed_work: What this router has placed and is not finished.
        given_seconds: Work that it was ever given, in seconds at its rate.
        last_report: The newest; None before the first.
    """

    def __init__(self, name: str, row: int, now: float, given_seconds: float) -> None:
        self.name = name
        self.row = row
        self.is_up = False
        self.placed_work = 0.0
        self.given_seconds = given_seconds
        self.last_report: LoadSnapshot | None = None
        self.reported_at = now
        self.rate = 1.0
        self.unreported_work = 0.0
        self.others_work = 0.0
        self.others_rate = MeasuredRate(OTHERS_HALF_LIFE_SECONDS)
        self.measured = MeasuredRate(RATE_HALF_LIFE_SECONDS)
        self.best = BestRate()
        self._recent: list[Placement] = []
        self._placed_since_report = 0.0

    def place(self, work: float, now: float) -> Placement:
        """Count a new piece of work."""
        placement = Placement(work, now)
        self._recent.append(placement)
        self.placed_work += work
        self.unreported_work += work
        self._placed_since_report += work
        self.given_seconds += work / self.rate
        return placement

    def finish(self, placement: Placement) -> None:
        """Count a piece of work no more, done or not."""
        self.placed_work -= placement.work
        if not placement.is_reported:
            self.unreported_work -= placement.work
            self._recent.remove(placement)

    def report(self, report: LoadSnapshot, now: float, typical_rate: float) -> None:
        """Adopt what the replica says, and learn from it how fast it and the others are."""
        last, seconds = self.last_report, now - self.reported_at
        self.others_work = max(report.outstanding_work - self.placed_work, 0.0)
        if last is not None and report.completed_work >= last.completed_work:
            done = report.completed_work - last.completed_work
            busy_seconds = max(report.busy_seconds - last.busy_seconds, 0.0)
            self.measured.add(done, busy_seconds)
            self.best.add(done, busy_seconds)
            arrived = report.outstanding_work - last.outstanding_work + done
            self.others_rate.add(arrived - self._placed_since_report, seconds)
        self.last_report, self.reported_at = report, now
        self._placed_since_report = 0.0
        if self.is_measured:
            self.rate = self.measured.per_second(typical_rate, PRIOR_SECONDS)
        # A report of no less than what we have placed has all of it.
        is_whole = report.outstanding_work >= self.placed_work
        self._note_reported(lambda each: is_whole or now - each.placed_at > UNDERWAY_SECONDS)

    @property
    def is_measured(self) -> bool:
        """Whether its rate is its own and not only assumed."""
        return self.measured.seconds > 0 and self.measured.per_second() > 0

    def _note_reported(self, is_in_report: Callable[[Placement], bool]) -> None:
        left = []
        for placement in self._recent:
            placement.is_reported = is_in_report(placement)
            if not placement.is_reported:
                left.append(placement)
        self._recent = left
        self.unreported_work = sum(placement.work for placement in left)
