"""Where the features of one request's pictures are kept, for as long as the request lives.

A request that goes on at another language replica has its pictures sent again from there, without
another pass of the vision transformer.
"""

from dataclasses import dataclass

from common.types import ReplicaAddress
from router.pooled_replica import PooledReplica
from router.vision_client import Encoding, VisionClient


@dataclass(frozen=True, slots=True)
class PlacedEncoding:
    """A picture's scores, and the replica that keeps its features."""

    encoding: Encoding
    replica: PooledReplica[VisionClient]


class PlacedPictures:
    """What a request knows of the vision replicas.

    Attributes:
        failed: Those that were lost.
    """

    def __init__(self) -> None:
        self.failed: set[ReplicaAddress] = set()
        self._placed: dict[int, PlacedEncoding] = {}

    def find(self, index: int) -> PlacedEncoding | None:
        """Where a picture was encoded last; None where it never was."""
        return self._placed.get(index)

    def put(self, index: int, placed: PlacedEncoding) -> None:
        """Take note that a picture is encoded."""
        self._placed[index] = placed
