"""Who takes the next piece of work: pure policies over what the router knows of its replicas.

Work is weighed in seconds, at each replica's own measured rate, so a slow replica gets as much less
as it is slower. Clock and seed are passed in: `benchmarks/scheduler.py` runs this very code under a
virtual clock.
"""

import random
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from common.config import PlacementConfig
from router.fleet import Fleet
from router.fleet_member import FleetMember

# Differences in backlog that no measurement can tell.
TIE_SECONDS = 1e-9
# How much the asking work itself counts beside what a replica has to do.
OWN_WORK_WEIGHT = 0.05
# Rates that differ by no more of the typical one are taken for equal.
SAME_RATE_SHARE = 0.2
# An odd constant that spreads the bits of a 64-bit product (the golden ratio's).
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Ask:
    """A piece of work that wants a replica.

    Attributes:
        work: Its cost, in the role's unit.
        key: 64-bit hash of what a replica may still hold of it: a picture, a conversation's start.
        avoid: Different replicas that have failed or refused it; taken only if there are no others.
    """

    work: float
    key: int = 0
    avoid: tuple[FleetMember, ...] = ()


class Policy(Protocol):
    """Chooses among replicas of which at least one takes work."""

    def choose(self, fleet: Fleet, ask: Ask, now: float) -> FleetMember:
        """Choose a replica that takes work.

        Args:
            fleet: All replicas; `num_up` is at least 1.
            ask: What is to be placed.
            now: Seconds, on the fleet's clock.
        """


class LeastWork:
    """The replica that has least to do; of several, the one that was given least so far.

    The asking work itself counts for a little too: so of an idle fast replica and an idle slow one
    the fast one takes it, and yet the slow one gets its share when there is much to do.
    """

    def choose(self, fleet: Fleet, ask: Ask, now: float) -> FleetMember:
        """Choose by backlog."""
        backlogs = fleet.backlogs(now, ask.avoid)
        own = OWN_WORK_WEIGHT * ask.work
        backlogs += own * fleet.seconds_per_work
        tolerance = SAME_RATE_SHARE * own / fleet.typical_rate
        tied = np.flatnonzero(backlogs <= backlogs.min() + tolerance + TIE_SECONDS)
        if len(tied) == 1:
            return fleet.members[int(tied[0])]
        return fleet.members[int(tied[fleet.given[tied].argmin()])]


class PowerOfTwo:
    """The better of two replicas drawn at random: even with many routers nobody is overrun.

    Args:
        seed: Of the draws.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a draw, no secret

    def choose(self, fleet: Fleet, ask: Ask, now: float) -> FleetMember:
        """Draw two that take work, and compare."""
        backlogs = fleet.backlogs(now, ask.avoid)
        first, second = self._draw(backlogs), self._draw(backlogs)
        return fleet.members[first if backlogs[first] <= backlogs[second] else second]

    def _draw(self, backlogs: np.ndarray[tuple[int], np.dtype[np.float64]]) -> int:
        while True:
            row = self._random.randrange(len(backlogs))
            if backlogs[row] < np.inf:
                return row


class RoundRobin:
    """Each in turn, whatever it has to do."""

    def __init__(self) -> None:
        self._last = -1

    def choose(self, fleet: Fleet, ask: Ask, now: float) -> FleetMember:
        """Choose the next one that takes work."""
        backlogs = fleet.backlogs(now, ask.avoid)
        while True:
            self._last = (self._last + 1) % len(backlogs)
            if backlogs[self._last] < np.inf:
                return fleet.members[self._last]


class Affinity:
    """The same replica for the same key, as long as it is not much busier than the others.

    Rendezvous hashing: of the replicas whose backlog is at most `bound` times the mean, the one
    whose hash with the key is highest; so a replica that comes or goes moves only its own keys.

    Args:
        bound: Most that a chosen replica's backlog may be of the mean, at least 1.
    """

    def __init__(self, bound: float) -> None:
        self._bound = bound

    def choose(self, fleet: Fleet, ask: Ask, now: float) -> FleetMember:
        """Choose by hash among those within the bound."""
        backlogs = fleet.backlogs(now, ask.avoid)
        mean = backlogs[backlogs < np.inf].mean()
        allowed = np.flatnonzero(backlogs <= self._bound * mean + TIE_SECONDS)
        hashes = fleet.keys[allowed] ^ np.uint64(ask.key)
        hashes *= _SPREAD
        hashes ^= hashes >> _HALF
        hashes *= _SPREAD
        return fleet.members[int(allowed[hashes.argmax()])]


def make_policy(config: PlacementConfig, name: str, seed: int) -> Policy:
    """Make the policy of this name.

    Args:
        config: Settings of all policies.
        name: One of `PolicyName`.
        seed: Of its randomness.
    """
    match name:
        case "power_of_two":
            return PowerOfTwo(seed)
        case "round_robin":
            return RoundRobin()
        case "affinity":
            return Affinity(config.affinity_bound)
        case _:
            return LeastWork()
