"""Whether one replica takes work: a pure state machine that is told what happens, and when.

    up -> suspect -> ejected -> probing -> up

A replica begins ejected: nothing is known of it. Once it has confirmed who it is and reports its
load it is probed, and a probe that passes brings it up. One sign of trouble makes it suspect: it
is probed at once and still takes work. A second sign ejects it, and so does a broken connection.
Requests that fail in a row eject it without asking; only a probe brings it back, later each time.
Busy is not dead: a probe that goes unanswered while its load reports show work being done says
nothing, and whatever is heard of a replica shows that it can be reached.
"""

from enum import StrEnum

from common.config import HealthConfig

# Longer than a replica's answer to a probe is kept.
RECHECK_SECONDS = 1.0
MAX_DOUBLINGS = 10


class HealthState(StrEnum):
    """What a router thinks of a replica."""

    UP = "up"
    SUSPECT = "suspect"
    EJECTED = "ejected"
    PROBING = "probing"


class ProbeResult(StrEnum):
    """How a probe ended."""

    PASSED = "passed"
    # The replica answered that it cannot do its work.
    FAILED = "failed"
    # No answer in time.
    UNANSWERED = "unanswered"


class ReplicaHealth:
    """The health of one replica. Every time is in seconds on the caller's monotonic clock.

    Attributes:
        state: Now.
        is_cut_off: Whether it was ejected because nothing at all was heard of it: what is under
            way at it cannot be waited for.
    """

    def __init__(self, config: HealthConfig) -> None:
        self.state = HealthState.EJECTED
        self.is_cut_off = False
        self._config = config
        self._is_connected = False
        self._heard_at = 0.0
        self._worked_at = 0.0
        self._last_work = 0
        self._probe_at = 0.0
        self._num_failures = 0
        self._num_ejections = 0

    @property
    def takes_work(self) -> bool:
        """Whether requests may be placed on it."""
        return self.state in (HealthState.UP, HealthState.SUSPECT)

    def note_report(self, outstanding_work: int, now: float) -> None:
        """A load report has come; the first one after a connection was made opens it."""
        if not self._is_connected:
            self._is_connected = True
            self._probe_at = now
        self._heard_at = now
        if outstanding_work < self._last_work:
            self._worked_at = now
        self._last_work = outstanding_work

    def note_broken(self) -> None:
        """The connection broke, or leads to another than it should."""
        self._is_connected = False
        self.state = HealthState.EJECTED
        self.is_cut_off = False

    def note_request(self, is_failed: bool, now: float) -> None:
        """A request has ended at it: as it should, or by the replica's own failure."""
        if not is_failed:
            self._num_failures = self._num_ejections = 0
            return
        self._num_failures += 1
        if self._num_failures >= self._config.max_failures:
            self._eject(now)
        else:
            self._suspect(now)

    def seconds_to_probe(self, now: float) -> float | None:
        """When to ask `begins_probe` again; None until it is connected."""
        if not self._is_connected:
            return None
        due = self._probe_at
        if self.state is HealthState.UP:
            due = min(due, self._heard_at + self._config.silence_seconds)
        return max(0.0, due - now)

    def begins_probe(self, now: float) -> bool:
        """Whether a probe is due; if so it counts as begun."""
        if not self._is_connected:
            return False
        if self._is_silent(now):
            self._suspect(now)
        if now < self._probe_at:
            return False
        if self.state is HealthState.EJECTED:
            self.state = HealthState.PROBING
        return True

    def note_probe(self, result: ProbeResult, began_at: float, now: float) -> None:
        """A probe has ended."""
        if not self._is_connected:
            return
        self._probe_at = now + self._config.probe_interval_seconds
        if result is not ProbeResult.UNANSWERED:
            self._heard_at = now
        if result is ProbeResult.PASSED:
            self.state = HealthState.UP
            self._num_failures = 0
        elif result is ProbeResult.UNANSWERED and self._worked_at > began_at:
            return
        elif self.state is HealthState.UP and not self._is_silent(now):
            self._suspect(now + RECHECK_SECONDS)
        else:
            self._eject(now)
            self.is_cut_off = self._is_silent(now)

    def _is_silent(self, now: float) -> bool:
        return now - self._heard_at >= self._config.silence_seconds

    def _suspect(self, probe_at: float) -> None:
        if self.state is HealthState.UP:
            self.state = HealthState.SUSPECT
            self._probe_at = min(self._probe_at, probe_at)

    def _eject(self, now: float) -> None:
        if self.state is not HealthState.EJECTED:
            self.state = HealthState.EJECTED
            self._num_failures = 0
            longest = self._config.probe_interval_seconds
            self._probe_at = now + min(RECHECK_SECONDS * 2**self._num_ejections, longest)
            self._num_ejections = min(self._num_ejections + 1, MAX_DOUBLINGS)
