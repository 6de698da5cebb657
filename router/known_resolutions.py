"""Which pictures of a request are decided before any of them is encoded.

Without a gate that is every picture. With one it takes the scores: of the picture itself, or with
scope `request` of all pictures of the request.
"""

from dataclasses import dataclass

from common.resolution_rule import decide
from common.types import ResolutionScope
from router.requests import ValidRequest
from router.score_memory import ScoreMemory, Scores


@dataclass(frozen=True, slots=True)
class KnownResolution:
    """How one picture is compressed.

    Attributes:
        scores: Probability that a tile may be compressed; empty without a gate.
        compressed: Whether each tile is.
    """

    scores: Scores
    compressed: tuple[bool, ...]


def known_resolutions(
    request: ValidRequest, memory: ScoreMemory
) -> tuple[KnownResolution | None, ...]:
    """Decide what can be decided; None for each other picture, in request order."""
    if request.thresholds is None:
        return tuple(
            KnownResolution((), (False,) * image.grid.num_tiles) for image in request.images
        )
    recalled = [memory.recall(image.key) for image in request.images]
    known = [scores for scores in recalled if scores is not None]
    if request.scope is ResolutionScope.REQUEST and len(known) < len(recalled):
        return (None,) * len(recalled)
    decided = iter(decide(known, request.thresholds, request.scope))
    return tuple(
        None if scores is None else KnownResolution(scores, next(decided)) for scores in recalled
    )
