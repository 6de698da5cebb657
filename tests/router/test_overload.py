"""Compression under load: one step, never less than asked for, never for `off`."""

import pytest

from common.config import OverloadConfig
from common.resolution_rule import ResolutionThresholds
from common.types import ResolutionScope
from router.overload import under_load

ASKED = ResolutionThresholds(relative=0.5, absolute=0.4)
POLICY = OverloadConfig(above_load=0.75, relative_threshold=0.2, absolute_threshold=0.1)
HARDEST = ResolutionThresholds(relative=0.2, absolute=0.1)


def chosen(
    load: float,
    policy: OverloadConfig | None = POLICY,
    scope: ResolutionScope = ResolutionScope.REQUEST,
) -> ResolutionThresholds:
    return under_load(ASKED, scope, policy, load)


def test_without_a_policy_load_changes_nothing() -> None:
    assert chosen(9.0, policy=None) == ASKED


@pytest.mark.parametrize(("load", "expected"), [(0.0, ASKED), (0.75, ASKED), (0.76, HARDEST)])
def test_it_acts_above_its_load(load: float, expected: ResolutionThresholds) -> None:
    assert chosen(load) == expected


def test_it_leaves_what_it_does_not_name() -> None:
    policy = OverloadConfig(above_load=0.0, relative_threshold=0.2)
    assert chosen(1.0, policy) == ResolutionThresholds(0.2, ASKED.absolute)
    policy = OverloadConfig(above_load=0.0, absolute_threshold=0.1)
    assert chosen(1.0, policy) == ResolutionThresholds(ASKED.relative, 0.1)


def test_it_never_compresses_less_than_was_asked_for() -> None:
    policy = OverloadConfig(above_load=0.0, relative_threshold=0.9, absolute_threshold=0.9)
    assert chosen(1.0, policy) == ASKED


@pytest.mark.parametrize("scope", ResolutionScope)
def test_who_wants_full_resolution_keeps_it(scope: ResolutionScope) -> None:
    is_off = scope is ResolutionScope.OFF
    assert chosen(1.0, scope=scope) == (ASKED if is_off else HARDEST)
