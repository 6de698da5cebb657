"""Health: one sign suspects, two eject, a probe brings back, busy is not dead."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config import HealthConfig
from router.replica_health import (
    RECHECK_SECONDS,
    HealthState,
    ProbeResult,
    ReplicaHealth,
)

CONFIG = HealthConfig()
PASSED, FAILED, UNANSWERED = ProbeResult


@dataclass
class Watched:
    """A replica's health and the clock."""

    now: float = 100.0
    health: ReplicaHealth = field(default_factory=lambda: ReplicaHealth(CONFIG))

    def probe(self, result: ProbeResult, seconds: float = 0.0) -> HealthState:
        """Let a probe be due, take some time, and end."""
        self.now += self.health.seconds_to_probe(self.now)
        assert self.health.begins_probe(self.now)
        began_at, self.now = self.now, self.now + seconds
        self.health.note_probe(result, began_at, self.now)
        return self.health.state

    def report(self, outstanding_work: int = 0) -> None:
        self.health.note_report(outstanding_work, self.now)


def up() -> Watched:
    watched = Watched()
    watched.report()
    assert watched.probe(PASSED) is HealthState.UP
    return watched


def test_a_replica_takes_no_work_before_it_reports_and_a_probe_passes() -> None:
    watched = Watched()
    assert watched.health.seconds_to_probe(watched.now) is None
    assert not watched.health.begins_probe(watched.now)
    watched.report()
    assert watched.health.begins_probe(watched.now)
    assert watched.health.state is HealthState.PROBING
    assert not watched.health.takes_work
    watched.health.note_probe(PASSED, watched.now, watched.now)
    assert watched.health.takes_work


def test_one_failed_probe_suspects_and_another_ejects() -> None:
    watched = up()
    watched.now += CONFIG.probe_interval_seconds
    watched.report()
    assert watched.probe(FAILED) is HealthState.SUSPECT
    assert watched.health.takes_work
    assert watched.health.seconds_to_probe(watched.now) == pytest.approx(RECHECK_SECONDS)
    watched.report()
    assert watched.probe(FAILED) is HealthState.EJECTED
    assert not watched.health.takes_work


def test_a_suspect_that_passes_is_up() -> None:
    watched = up()
    watched.health.note_request(is_failed=True, now=watched.now)
    assert watched.health.state is HealthState.SUSPECT
    assert watched.probe(PASSED) is HealthState.UP


def test_mode_5_a_busy_replica_is_not_ejected_by_probes_that_it_does_not_answer() -> None:
    watched = up()
    for work in range(20, 0, -1):
        watched.report(work)
        watched.now += watched.health.seconds_to_probe(watched.now)
        assert watched.health.begins_probe(watched.now)
        began_at, watched.now = watched.now, watched.now + 3.0
        watched.report(work - 1)
        watched.health.note_probe(UNANSWERED, began_at, watched.now)
        assert watched.health.takes_work


def test_work_that_only_arrives_is_no_sign_of_life_in_the_engine() -> None:
    watched = up()
    for work in range(1, 3):
        watched.now += watched.health.seconds_to_probe(watched.now)
        assert watched.health.begins_probe(watched.now)
        began_at, watched.now = watched.now, watched.now + 3.0
        watched.report(work)
        watched.health.note_probe(UNANSWERED, began_at, watched.now)
    assert watched.health.state is HealthState.EJECTED
    assert not watched.health.is_cut_off, "it still reports, so what runs there may end"


def test_mode_5_an_ejected_replica_returns() -> None:
    watched = up()
    while watched.health.takes_work:
        watched.probe(FAILED)
    assert watched.probe(PASSED) is HealthState.UP


def test_mode_22_a_silent_link_is_probed_early_and_cut_when_that_is_not_answered_either() -> None:
    watched = up()
    assert watched.health.seconds_to_probe(watched.now) == CONFIG.silence_seconds
    watched.now += CONFIG.silence_seconds
    assert watched.health.begins_probe(watched.now)
    assert watched.health.state is HealthState.SUSPECT
    watched.health.note_probe(UNANSWERED, watched.now, watched.now + 3.0)
    assert watched.health.state is HealthState.EJECTED
    assert watched.health.is_cut_off


def test_a_silent_replica_that_answers_its_probe_stays_up() -> None:
    watched = up()
    for _ in range(10):
        assert watched.probe(PASSED) is HealthState.UP
    assert watched.now > 100.0 + 5 * CONFIG.silence_seconds


def test_one_unanswered_probe_in_a_silence_that_it_began_is_enough() -> None:
    watched = up()
    watched.now += 1.0
    watched.health.note_request(is_failed=True, now=watched.now)  # makes a probe due
    assert watched.probe(UNANSWERED, seconds=3.0) is HealthState.EJECTED
    assert watched.health.is_cut_off


def test_requests_that_fail_in_a_row_eject_at_once_and_a_probe_brings_back() -> None:
    watched = up()
    for _ in range(CONFIG.max_failures - 1):
        watched.health.note_request(is_failed=True, now=watched.now)
        assert watched.health.state is HealthState.SUSPECT
    watched.health.note_request(is_failed=True, now=watched.now)
    assert watched.health.state is HealthState.EJECTED
    assert not watched.health.is_cut_off
    assert watched.probe(PASSED) is HealthState.UP


def test_failures_with_a_success_between_are_not_in_a_row() -> None:
    watched = up()
    for number in range(10 * CONFIG.max_failures):
        watched.health.note_request(is_failed=number % CONFIG.max_failures != 0, now=watched.now)
        assert watched.health.takes_work


def test_who_is_ejected_again_and_again_is_probed_later_and_later_but_is_probed() -> None:
    watched = up()
    waits = []
    for _ in range(6):
        for _ in range(CONFIG.max_failures):
            watched.health.note_request(is_failed=True, now=watched.now)
        waits.append(watched.health.seconds_to_probe(watched.now))
        watched.report()
        watched.probe(PASSED)
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    watched.health.note_request(is_failed=False, now=watched.now)
    for _ in range(CONFIG.max_failures):
        watched.health.note_request(is_failed=True, now=watched.now)
    assert watched.health.seconds_to_probe(watched.now) == 1.0


def test_a_broken_connection_ejects_and_nothing_is_probed_until_it_is_back() -> None:
    watched = up()
    watched.health.note_broken()
    assert watched.health.state is HealthState.EJECTED
    assert watched.health.seconds_to_probe(watched.now) is None
    watched.report()
    assert watched.health.seconds_to_probe(watched.now) == 0
    assert not watched.health.takes_work
    assert watched.probe(PASSED) is HealthState.UP


def test_a_probe_that_ends_after_the_connection_says_nothing() -> None:
    watched = up()
    began_at = watched.now
    watched.health.note_broken()
    watched.health.note_probe(PASSED, began_at, watched.now)
    assert not watched.health.takes_work


EVENTS = st.one_of(
    st.tuples(st.just("report"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.floats(0, 6)),
    st.tuples(st.just("request"), st.booleans()),
    st.tuples(st.just("probe"), st.sampled_from(list(ProbeResult))),
    st.tuples(st.just("broken"), st.none()),
)


@given(st.lists(EVENTS, max_size=40))
def test_whatever_happened_a_well_replica_is_up_again_after_its_next_probe(events: list) -> None:
    watched = Watched()
    for kind, value in events:
        if kind == "report":
            watched.report(value)
        elif kind == "wait":
            watched.now += value
        elif kind == "request":
            watched.health.note_request(value, watched.now)
        elif kind == "broken":
            watched.health.note_broken()
        elif watched.health.begins_probe(watched.now):
            watched.health.note_probe(value, watched.now, watched.now + 1.0)
            watched.now += 1.0
    watched.report()
    wait = watched.health.seconds_to_probe(watched.now)
    assert wait is not None
    assert wait <= CONFIG.probe_interval_seconds
    assert watched.probe(PASSED) is HealthState.UP


@given(st.lists(EVENTS, max_size=40))
def test_only_a_probe_ever_brings_a_replica_up(events: list) -> None:
    watched = Watched()
    for kind, value in events:
        before = watched.health.takes_work
        if kind == "report":
            watched.report(value)
        elif kind == "request":
            watched.health.note_request(value, watched.now)
        elif kind == "broken":
            watched.health.note_broken()
        else:
            continue
        assert before or not watched.health.takes_work
