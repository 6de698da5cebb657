"""What counts at the door beside the cost of a request, and why one is sent away."""

import math
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Standing:
    """What counts at the door beside the cost.

    Attributes:
        tenant: On whose behalf; the empty name is a tenant like any other.
        priority: Above 0 for the kept part of the bounds.
        seconds_left: Until its deadline.
    """

    tenant: str = ""
    priority: int = 0
    seconds_left: float = math.inf


class Refusal(StrEnum):
    """Why a request was refused."""

    REQUESTS = "requests"
    TILES = "tiles"
    TOKENS = "tokens"
    IMAGE_BYTES = "image_bytes"
    TENANT = "tenant"
    DEADLINE = "deadline"


ORDINARY = Standing()
