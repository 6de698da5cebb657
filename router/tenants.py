"""Fair shares: how much of a bound one tenant may take while others ask too.

A tenant that is alone may take all. As soon as another has asked lately, it may take its equal
share, or more where the others leave more, but never the last fifth of what they leave: so whoever
comes next finds room at once, and whoever had taken more gets nothing new until its share is free.
Whose request it is says the metadata `x-dvd-tenant`, which whoever authenticates clients should set
or remove; without it a request belongs to the tenant with the empty name.
"""

from common.errors import InvalidRequestError
from router.resources import Amounts, Resource

TENANT_HEADER = "x-dvd-tenant"
MAX_TENANT_CHARACTERS = 128
# After so long without a request, and with none in flight, a tenant has no share any more.
ACTIVE_SECONDS = 10.0
SHARE_OF_THE_REST = 0.8
# Names beyond this many at a time share one place, so that made-up names take no memory.
MAX_TENANTS = 1024
OTHERS = ""


def check_tenant(name: str) -> str:
    """Return what can be the name of a tenant.

    Raises:
        InvalidRequestError: It cannot be one.
    """
    if len(name) > MAX_TENANT_CHARACTERS or not (name.isascii() and name.isprintable()):
        raise InvalidRequestError(
            f"A tenant has at most {MAX_TENANT_CHARACTERS} printable ASCII characters.",
            TENANT_HEADER,
        )
    return name


class Tenants:
    """What each tenant holds; used from the event loop alone."""

    def __init__(self) -> None:
        self._held: dict[str, Amounts] = {}
        self._asked_at: dict[str, float] = {}

    def ask(self, name: str, now: float) -> str:
        """Note that a tenant wants something.

        Returns:
            The name to count it under.
        """
        if name not in self._held and len(self._held) >= MAX_TENANTS:
            self._forget(now)
            name = name if len(self._held) < MAX_TENANTS else OTHERS
        self._held.setdefault(name, Amounts())
        self._asked_at[name] = now
        return name

    def held(self, name: str) -> Amounts:
        """What a tenant that has asked holds; the caller adds to it and takes away."""
        return self._held[name]

    def limit(self, name: str, resource: Resource, bound: float, held_by_all: int) -> float:
        """Most of a resource that a tenant may hold now.

        Args:
            name: Of a tenant that has asked.
            resource: Of what.
            bound: Most that all may hold.
            held_by_all: What all hold.
        """
        if len(self._held) == 1:
            return bound
        rest = bound - (held_by_all - self._held[name].of(resource))
        return max(bound / len(self._held), SHARE_OF_THE_REST * rest)

    def forget_idle(self, now: float) -> None:
        """Give the shares of those who have not asked lately to the others."""
        if len(self._held) > 1:
            self._forget(now)

    def _forget(self, now: float) -> None:
        for name, held in list(self._held.items()):
            if not held.requests and now - self._asked_at[name] > ACTIVE_SECONDS:
                del self._held[name], self._asked_at[name]
