"""What can be decided before anything is encoded, by scope and memory."""

import pytest

from common.types import ResolutionScope
from router.known_resolutions import KnownResolution, known_resolutions
from router.score_memory import ScoreMemory
from tests.router.fakes import request

SCORES = {b"a": (0.3, 0.5), b"b": (0.5, 0.8)}


def memory_of(*keys: bytes) -> ScoreMemory:
    memory = ScoreMemory(8)
    for key in keys:
        memory.remember(key, SCORES[key])
    return memory


def masks(scope: ResolutionScope, *keys: bytes) -> list[tuple[bool, ...] | None]:
    known = known_resolutions(request(2, 2, scope=scope), memory_of(*keys))
    assert [None if each is None else each.scores for each in known] == [
        SCORES[key] if each is not None else None for key, each in zip(SCORES, known, strict=True)
    ]
    return [None if each is None else each.compressed for each in known]


@pytest.mark.parametrize("scope", ResolutionScope)
def test_without_a_gate_every_picture_is_decided(scope: ResolutionScope) -> None:
    known = known_resolutions(request(1, 2, scope=scope, thresholds=None), memory_of())
    assert known == (KnownResolution((), (False,)), KnownResolution((), (False, False)))


@pytest.mark.parametrize("scope", ResolutionScope)
def test_without_scores_nothing_is_decided(scope: ResolutionScope) -> None:
    assert masks(scope) == [None, None]


def test_scope_request_needs_the_scores_of_all() -> None:
    assert masks(ResolutionScope.REQUEST, b"b") == [None, None]
    assert masks(ResolutionScope.REQUEST, b"a", b"b") == [(False, False), (False, True)]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (ResolutionScope.IMAGE, (False, True)),
        (ResolutionScope.ABSOLUTE, (True, True)),
        (ResolutionScope.OFF, (False, False)),
    ],
)
def test_other_scopes_decide_each_picture_alone(
    scope: ResolutionScope, expected: tuple[bool, ...]
) -> None:
    assert masks(scope, b"b") == [None, expected]
