"""The moment by which a request must end, handed down to every call that it makes."""

import time
from dataclasses import dataclass

from common.errors import DeadlineExpiredError


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock.

    Attributes:
        at: Seconds on `time.monotonic`.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Set a deadline counted from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left, to be the timeout of a call.

        Raises:
            DeadlineExpiredError: There are none.
        """
        seconds = self.at - time.monotonic()
        if seconds <= 0:
            raise DeadlineExpiredError("The deadline passed.")
        return seconds
