"""Few cases in which every two choices of any two factors meet."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

Case = tuple[object, ...]


def full(factors: Mapping[str, Sequence[object]]) -> list[Case]:
    """Every case there is."""
    return list(product(*factors.values()))


def pairwise(factors: Mapping[str, Sequence[object]]) -> list[Case]:
    """Cases that meet every pair, each time the one that meets most of those left."""
    cases = full(factors)
    left = {pair for case in cases for pair in _pairs(case)}
    chosen: list[Case] = []
    while left:
        best = max(cases, key=lambda case: len(left & _pairs(case)))
        chosen.append(best)
        left -= _pairs(best)
    return chosen


def _pairs(case: Case) -> set[tuple[object, ...]]:
    return set(combinations(enumerate(case), 2))
