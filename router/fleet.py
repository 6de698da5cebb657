"""The load of all replicas of one role, as a table that a policy reads in one go.

A decision among thousands of replicas has to look at each of them, so what is known of each is kept
in columns of numbers in seconds: when what was reported will be done, what was placed since, what
others add. A change touches one row; a decision is a few operations on whole columns.
"""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from router.fleet_member import FleetMember, LoadSnapshot, Placement

Seconds = NDArray[np.float64]

_DRAINED_AT, _MOST, _UNREPORTED, _OTHERS, _REPORTED_AT, _GIVEN, _PER_WORK, _AT_BEST = range(8)
_NUM_COLUMNS = 8
# Others' placements are counted so far ahead, so that several routers settle on replicas of their
# own instead of meeting on those that the same stale report shows idle.
OTHERS_AHEAD_SECONDS = 0.05
# Two reports in quick succession should not look like a flood.
OTHERS_PRIOR_SECONDS = 0.1
# Longest time over which others are taken to go on as they did.
OTHERS_HORIZON_SECONDS = 1.0
# Two routers that start at once should not begin with the same replica.
SPREAD_SECONDS = 1e-3


class Fleet:
    """Replicas by row; used from the event loop alone.

    Attributes:
        members: In row order.
        num_up: Those of them that take work.

    Args:
        seed: Of the order in which idle replicas are first taken; None for that of joining.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.members: list[FleetMember] = []
        self.num_up = 0
        self._random = None if seed is None else random.Random(seed)  # noqa: S311 - no secret
        self._table = np.zeros((_NUM_COLUMNS, 16))
        self._keys = np.zeros(16, np.uint64)
        self._scratch = np.zeros((2, 16))
        self._measured_rates = 0.0
        self._num_measured = 0

    @property
    def typical_rate(self) -> float:
        """Mean measured rate, in work a second; 1 where none is measured."""
        return self._measured_rates / self._num_measured if self._num_measured else 1.0

    @property
    def given(self) -> Seconds:
        """For each row the work that it was ever given, in seconds at its rate."""
        return self._table[_GIVEN, : len(self.members)]

    @property
    def seconds_per_work(self) -> Seconds:
        """For each row how long it takes for one unit of work."""
        return self._table[_PER_WORK, : len(self.members)]

    @property
    def keys(self) -> NDArray[np.uint64]:
        """For each row a hash of its name."""
        return self._keys[: len(self.members)]

    def join(self, name: str, key: int, now: float) -> FleetMember:
        """Add a replica that is not up yet; it has been given as much as the others on average."""
        row = len(self.members)
        if row == self._table.shape[1]:
            self._table = np.concatenate([self._table, np.zeros_like(self._table)], axis=1)
            self._keys = np.concatenate([self._keys, np.zeros_like(self._keys)])
            self._scratch = np.zeros((2, self._table.shape[1]))
        given = float(self.given.mean()) if row else 0.0
        if self._random is not None:
            given += (self._random.random() - 0.5) * SPREAD_SECONDS
        member = FleetMember(name, row, now, given)
        member.rate = self.typical_rate
        self.members.append(member)
        self._keys[row] = key
        self._write(member)
        return member

    def leave(self, member: FleetMember) -> None:
        """Remove a replica; the last one takes its row."""
        self.set_up(member, is_up=False)
        if member.is_measured:
            self._measured_rates -= member.rate
            self._num_measured -= 1
        last = self.members.pop()
        if last is not member:
            self._keys[member.row] = self._keys[last.row]
            last.row = member.row
            self.members[last.row] = last
            self._write(last)
        # Leases that outlive it count nowhere.
        member.row = -1

    def set_up(self, member: FleetMember, *, is_up: bool) -> None:
        """Note whether a replica takes work."""
        self.num_up += is_up - member.is_up
        member.is_up = is_up
        self._write(member)

    def place(self, member: FleetMember, work: float, now: float) -> Placement:
        """Count a piece of work on a replica until it is finished."""
        placement = member.place(work, now)
        self._write(member)
        return placement

    def finish(self, member: FleetMember, placement: Placement) -> None:
        """Count a piece of work no more."""
        member.finish(placement)
        self._write(member)

    def report(self, member: FleetMember, report: LoadSnapshot, now: float) -> None:
        """Adopt what a replica says of itself."""
        if member.row < 0:
            return
        before = member.rate if member.is_measured else None
        member.report(report, now, self.typical_rate)
        if member.is_measured:
            self._measured_rates += member.rate - (before or 0.0)
            self._num_measured += before is None
        self._write(member)

    def backlogs(self, now: float, avoid: Sequence[FleetMember] = ()) -> Seconds:
        """For each row how long it will take for what it has; infinite where it takes no work.

        The caller's to change, and valid until the next call.

        Args:
            now: Seconds, on the clock of all other calls.
            avoid: They take no work either, unless nobody else does.
        """
        num = len(self.members)
        table = self._table[:, :num]
        backlogs, others = self._told(now), self._scratch[1, :num]
        np.subtract(now + OTHERS_AHEAD_SECONDS, table[_REPORTED_AT], out=others)
        np.minimum(others, OTHERS_HORIZON_SECONDS, out=others)
        others *= table[_OTHERS]
        backlogs += others
        avoided = [member.row for member in avoid if member.is_up]
        if len(avoided) < self.num_up:
            backlogs[avoided] = np.inf
        return backlogs

    def seconds_to_finish(self, work: float, now: float) -> float:
        """How long some replica would need at least for new work behind all that it has.

        Returns:
            0 where a replica has nobody waiting, or where it is not known how fast it can be.
        """
        if not self.num_up:
            return 0.0
        seconds = self._told(now)
        seconds += work * self.seconds_per_work
        at_best = self._table[_AT_BEST, : len(self.members)]
        is_up = seconds < np.inf
        return float((seconds[is_up] * at_best[is_up]).min())

    def _told(self, now: float) -> Seconds:
        """Backlogs by reports and own placements alone; valid until the next call."""
        num = len(self.members)
        table, backlogs = self._table[:, :num], self._scratch[0, :num]
        np.subtract(table[_DRAINED_AT], now, out=backlogs)
        np.maximum(backlogs, 0.0, out=backlogs)
        np.minimum(backlogs, table[_MOST], out=backlogs)
        backlogs += table[_UNREPORTED]
        return backlogs

    def _write(self, member: FleetMember) -> None:
        """Bring a replica's row up to date."""
        if member.row < 0:
            return
        report, rate = member.last_report, member.rate
        reported = report.outstanding_work if report is not None else 0
        others_rate = max(member.others_rate.per_second(0.0, OTHERS_PRIOR_SECONDS), 0.0)
        placed_before = max(member.placed_work - member.unreported_work, 0.0)
        self._table[:, member.row] = (
            member.reported_at + reported / rate,
            (member.others_work + placed_before) / rate,
            member.unreported_work / rate if member.is_up else np.inf,
            others_rate / rate,
            member.reported_at,
            member.given_seconds,
            1 / rate,
            self._at_best(member),
        )

    @staticmethod
    def _at_best(member: FleetMember) -> float:
        """A replica's best time as a share of its usual one; 0 where work need not wait."""
        report = member.last_report
        if report is None or not report.waiting_requests or not member.best.per_second:
            return 0.0
        return min(member.rate / member.best.per_second, 1.0)
