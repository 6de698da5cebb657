"""The bounded resources of a router, and amounts of them."""

from dataclasses import dataclass
from enum import StrEnum

from router.requests import RequestCost


class Resource(StrEnum):
    """What a request takes, by the name of its amount."""

    REQUESTS = "requests"
    TILES = "tiles"
    TOKENS = "tokens"
    IMAGE_BYTES = "image_bytes"


@dataclass(slots=True)
class Amounts:
    """So much of each resource.

    Attributes:
        requests: Requests in flight.
        tiles: Their tiles.
        tokens: Their tokens, estimated.
        image_bytes: Picture bytes that they hold.
    """

    requests: int = 0
    tiles: int = 0
    tokens: int = 0
    image_bytes: int = 0

    @classmethod
    def of_request(cls, cost: RequestCost) -> "Amounts":
        """What one request of this cost takes."""
        return cls(1, cost.tiles, cost.tokens, cost.image_bytes)

    def of(self, resource: Resource) -> int:
        """How much of one resource."""
        amount: int = getattr(self, resource)
        return amount

    def add(self, other: "Amounts", sign: int = 1) -> None:
        """Add other amounts, or with -1 take them away."""
        self.requests += sign * other.requests
        self.tiles += sign * other.tiles
        self.tokens += sign * other.tokens
        self.image_bytes += sign * other.image_bytes
