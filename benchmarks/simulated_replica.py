"""What takes part in a simulated run: pictures, replicas that work them off, their routers."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from router.fleet import Fleet
from router.fleet_member import FleetMember, LoadSnapshot, Placement
from router.policies import Policy


@dataclass(slots=True)
class Job:
    """One picture.

    Attributes:
        arrives_at: Virtual seconds.
        tiles: Its cost as routers see it.
        work: Its true cost, in tiles: a little more or less.
        key: Of the picture.
        finished_at: When it was done; 0 before.
        replica: Which replica did it.
    """

    arrives_at: float
    tiles: int
    work: float
    key: int
    finished_at: float = 0.0
    replica: int = -1


@dataclass(slots=True)
class SimulatedReplica:
    """A queue that is worked off in order.

    Attributes:
        index: Which one.
        rate: Tiles a second.
        queue: Jobs that wait or run, with where each was placed.
        is_up: Whether it is there.
        epoch: Number of its failures; what was scheduled before one is void.
    """

    index: int
    rate: float
    queue: deque[tuple[Job, "SimulatedRouter", Placement, FleetMember]] = field(
        default_factory=deque
    )
    held: OrderedDict[int, None] = field(default_factory=OrderedDict)
    is_up: bool = True
    epoch: int = 0
    outstanding: float = 0.0
    completed: float = 0.0
    busy_seconds: float = 0.0
    running_since: float = 0.0
    running_work: float = 0.0
    last_report: LoadSnapshot | None = None
    silent_reports: int = 0

    def snapshot(self, now: float) -> LoadSnapshot:
        """What it would report, to the tile."""
        seconds = now - self.running_since if self.queue else 0.0
        done = min(seconds * self.rate, self.running_work)
        waiting = max(len(self.queue) - 1, 0)
        outstanding = round(max(self.outstanding - done, 0.0))
        completed, busy = self.completed + done, self.busy_seconds + seconds
        return LoadSnapshot(outstanding, int(completed), busy, waiting)


class SimulatedRouter:
    """A router's view, and the policy that decides on it."""

    def __init__(self, index: int, policy: Policy, keys: Sequence[int]) -> None:
        self.fleet = Fleet(seed=index)
        self.policy = policy
        self.keys = keys
        self.members = [self.join(replica, 0.0) for replica in range(len(keys))]

    def join(self, replica: int, now: float) -> FleetMember:
        """Take a replica in, up."""
        member = self.fleet.join(str(replica), self.keys[replica], now)
        self.fleet.set_up(member, is_up=True)
        return member
