"""Which failures another replica can make good, whom to avoid then, and how often that is tried.

A replica that is lost or refuses for want of room says nothing about the next one. Whatever else it
answers follows from the request, and would be answered again.
"""

from common.errors import CancelledRequestError, DvdError, OverloadedError, UnavailableError
from common.types import ReplicaAddress
from router.deadline import Deadline
from router.pooled_replica import C
from router.replica_pool import ReplicaPool

# Failures of one piece of work that are made good, so that a request that breaks replicas breaks
# only so many of them.
MAX_FAILURES = 4
# Before a replica that has just failed is tried again, because there is no other.
PAUSE_SECONDS = 0.5
# For a replica to come back, where none takes work at all.
PATIENCE_SECONDS = 10.0


class AttemptLostError(Exception):
    """An attempt has failed, and another may make it good; never leaves the router."""


class Attempts:
    """The attempts at one piece of work.

    Args:
        failed: Replicas that have failed; shared by all who share their luck.
    """

    def __init__(self, failed: set[ReplicaAddress] | None = None) -> None:
        self.failed = set() if failed is None else failed
        self.num_failures = 0

    def note(self, error: DvdError, replica: ReplicaAddress, pool: ReplicaPool[C]) -> None:
        """Take note that a replica of a pool has failed.

        Raises:
            DvdError: The same, where another attempt cannot make it good.
        """
        self.failed.add(replica)
        is_refused = isinstance(error, OverloadedError) and pool.has_other(self.failed)
        self.count(error, is_refused or is_lost(error), pool)

    def count(self, error: DvdError, can_mend: bool, pool: ReplicaPool[C]) -> None:
        """Count a failure that is nobody's in particular.

        Args:
            error: What it was.
            can_mend: Whether another attempt may make it good.
            pool: Whose replicas another attempt is for.

        Raises:
            DvdError: The same, where it cannot, or where that was tried often enough.
        """
        self.num_failures += 1
        if not can_mend or self.num_failures > MAX_FAILURES:
            raise error
        pool.num_retries += 1

    async def pause(self, pool: ReplicaPool[C], deadline: Deadline) -> None:
        """Wait after a failure until it makes sense to try again.

        Raises:
            DeadlineExpiredError: There is no time left.
        """
        if not self.num_failures:
            return
        await pool.wait_for_other(self.failed, min(PAUSE_SECONDS, deadline.remaining()))
        if not pool.num_up:
            await pool.wait_for_other(self.failed, min(PATIENCE_SECONDS, deadline.remaining()))


def is_lost(error: DvdError) -> bool:
    """Whether a replica is gone, as far as one can tell; one that stops cancels what it runs."""
    return isinstance(error, UnavailableError | CancelledRequestError)
