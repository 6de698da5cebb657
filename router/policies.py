"""Which replica takes the next piece of work: a pure function of what is known."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicaLoad:
    """What is known of one candidate.

    Attributes:
        name: Its name.
        outstanding_work: Tiles or tokens not yet done: what this router has placed, or what the
            replica reports, whichever is more.
        last_placed: Number of the router's latest placement on it; 0 for none.
    """

    name: str
    outstanding_work: int
    last_placed: int


def least_work(candidates: Sequence[ReplicaLoad]) -> str:
    """Choose the replica with the least outstanding work, on a tie the one that waited longest.

    Args:
        candidates: At least one.
    """
    return min(candidates, key=lambda load: (load.outstanding_work, load.last_placed)).name
