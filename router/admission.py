"""Bounded admission: what is outstanding is counted in cost, and beyond the bounds is refused.

A refusal is immediate and names a delay that follows from how fast the router is emptied; nothing
ever queues in the router. Within the bounds, tenants that ask at the same time get fair shares, a
part may be kept for requests of higher priority, and what could not end by its deadline is refused
at once.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from common.errors import OverloadedError
from router.drain import MAX_DELAY_SECONDS, Drain
from router.requests import RequestCost
from router.resources import Amounts, Resource
from router.standing import ORDINARY, Refusal, Standing
from router.tenants import Tenants


@dataclass(frozen=True, slots=True)
class AdmissionBounds:
    """Most that may be outstanding at a time.

    Attributes:
        requests: Requests in flight.
        cost: Their cost, added up.
        retry_after_seconds: Delay named in refusals before anything has ended.
        priority_share: Part of every bound that only requests of priority above 0 may use.
    """

    requests: int
    cost: RequestCost
    retry_after_seconds: float
    priority_share: float = 0.0

    @property
    def amounts(self) -> Amounts:
        """The bounds, by resource."""
        cost = self.cost
        return Amounts(self.requests, cost.tiles, cost.tokens, cost.image_bytes)


NO_COST = RequestCost(tiles=0, tokens=0, image_bytes=0)
WORDS = {Resource.IMAGE_BYTES: "picture bytes"}


class Admission:
    """Counts what is outstanding; used from the event loop alone.

    Attributes:
        held: What is outstanding.
        on_refusal: Told of every refusal; set it before the first request.
    """

    def __init__(
        self,
        bounds: AdmissionBounds,
        expected_seconds: Callable[[RequestCost], float] = lambda _: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with nothing outstanding.

        Args:
            bounds: Most that may be.
            expected_seconds: Least time in which a request of this cost could end.
            clock: Seconds, monotonic.
        """
        self.held = Amounts()
        self.on_refusal: Callable[[Refusal], None] = lambda _: None
        self._bounds = bounds
        self._expected_seconds = expected_seconds
        self._clock = clock
        self._tenants = Tenants()
        self._drain = Drain(bounds.retry_after_seconds, clock())

    @property
    def requests(self) -> int:
        """Requests in flight."""
        return self.held.requests

    @property
    def tiles(self) -> int:
        """Their tiles."""
        return self.held.tiles

    @property
    def tokens(self) -> int:
        """Their tokens, estimated."""
        return self.held.tokens

    @property
    def image_bytes(self) -> int:
        """Picture bytes that they hold."""
        return self.held.image_bytes

    @property
    def load(self) -> float:
        """Largest share of any bound that is in use; above 1 for a request larger than a bound."""
        bounds = self._bounds.amounts
        return max(self.held.of(resource) / bounds.of(resource) for resource in Resource)

    def check(self, standing: Standing) -> None:
        """Refuse what would be refused whatever it costs, before anybody has looked at it.

        Raises:
            OverloadedError: As `admit`.
        """
        self._check(NO_COST, standing)

    @contextmanager
    def admit(self, cost: RequestCost, standing: Standing = ORDINARY) -> Iterator[None]:
        """Count a request for the length of the context.

        A request that alone exceeds a bound is admitted when nothing else is outstanding.

        Raises:
            OverloadedError: A bound or the tenant's share would be exceeded, or the deadline.
        """
        wanted = Amounts.of_request(cost)
        of_tenant = self._tenants.held(self._check(cost, standing))
        for held in (self.held, of_tenant):
            held.add(wanted)
        try:
            yield
        finally:
            self._advance()
            for held in (self.held, of_tenant):
                held.add(wanted, -1)
            self._drain.note_released(wanted)

    def _check(self, cost: RequestCost, standing: Standing) -> str:
        """Raise, or return the tenant's name to count under."""
        self._advance()
        tenant = self._tenants.ask(standing.tenant, self._clock())
        if self.held.requests:
            self._check_bounds(Amounts.of_request(cost), tenant, standing)
            self._check_deadline(cost, standing)
        return tenant

    def _advance(self) -> None:
        now = self._clock()
        self._drain.advance(now, is_busy=self.held.requests > 0)
        self._tenants.forget_idle(now)

    def _check_bounds(self, wanted: Amounts, tenant: str, standing: Standing) -> None:
        bounds, of_tenant = self._bounds.amounts, self._tenants.held(tenant)
        for resource in Resource:
            more, held = wanted.of(resource), self.held.of(resource)
            bound = bounds.of(resource)
            if standing.priority <= 0:
                bound -= int(bound * self._bounds.priority_share)
            if held + more > bound:
                what = WORDS.get(resource, resource.value)
                delay = self._drain.delay(resource, more, held + more - bound)
                self._refuse(Refusal(resource.value), f"Too many {what} are outstanding", delay)
            limit = self._tenants.limit(tenant, resource, bound, held)
            excess = of_tenant.of(resource) + more - limit
            if of_tenant.requests and excess > 0:
                delay = self._drain.delay(resource, more, excess)
                self._refuse(Refusal.TENANT, "The tenant's share is used up", delay)

    def _check_deadline(self, cost: RequestCost, standing: Standing) -> None:
        # A request of higher priority overtakes what the estimate counts.
        if standing.priority > 0 or standing.seconds_left == math.inf:
            return
        excess_seconds = self._expected_seconds(cost) - standing.seconds_left
        if excess_seconds > 0:
            delay = min(excess_seconds, MAX_DELAY_SECONDS)
            self._refuse(Refusal.DEADLINE, "The request cannot end by its deadline", delay)

    def _refuse(self, cause: Refusal, words: str, delay_seconds: float) -> NoReturn:
        self.on_refusal(cause)
        raise OverloadedError(f"{words}; try again later.", delay_seconds)
