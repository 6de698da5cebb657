"""A request past the door: every bound checked, every default filled in.

Raw and valid requests are different types; nobody behind the door checks again. Pictures are
looked at by their headers only.
"""

from dataclasses import dataclass

from common.conversation import PromptMessage
from common.image_options import ImageOptions
from common.resolution_rule import ResolutionThresholds
from common.tiling import TileGrid
from common.types import AnswerSoFar, ResolutionScope, SamplingRequest
from router.answer import AnswerDecided


@dataclass(frozen=True, slots=True)
class ValidImage:
    """A picture within bounds.

    Attributes:
        data: The file's bytes, kept for retries.
        key: Hash of bytes and processing options.
        grid: How it will be cut.
        field: Where it stands in the request, for errors.
        options: How it will be turned and cut.
        orientation: EXIF orientation that will be applied; 1 where it stays as stored.
    """

    data: bytes
    key: bytes
    grid: TileGrid
    field: str
    options: ImageOptions
    orientation: int = 1


@dataclass(frozen=True, slots=True)
class RequestCost:
    """What a request takes of the bounded resources.

    Attributes:
        tiles: Work of the vision stage.
        tokens: Work of the language stage, estimated: text from its bytes, pictures at full
            resolution, the answer at its limit.
        image_bytes: Picture bytes held for retries.
    """

    tiles: int
    tokens: int
    image_bytes: int


@dataclass(frozen=True, slots=True)
class ContinueFrom:
    """What a client has of a stream that was cut off.

    Attributes:
        answers: One for each answer that is asked for.
        decided: How the pictures are cut and compressed; None only where there are no tokens or
            no pictures.
    """

    answers: tuple[AnswerSoFar, ...]
    decided: AnswerDecided | None = None


@dataclass(frozen=True, slots=True)
class ValidRequest:
    """One conversation to continue.

    Attributes:
        request_id: Its name everywhere.
        messages: The conversation.
        images: All pictures, in request order.
        sampling: How the answer's tokens are chosen.
        scope: Scope of the resolution rule.
        thresholds: Of the resolution rule; None without a gate.
        cost: What it takes.
        priority: Steps of head start over other requests.
        tenant: On whose behalf it is asked.
        text_tokens: Those of its text, estimated from its bytes.
        continue_from: Where a stream that was cut off goes on; None for a new one.
    """

    request_id: str
    messages: tuple[PromptMessage, ...]
    images: tuple[ValidImage, ...]
    sampling: SamplingRequest
    scope: ResolutionScope
    thresholds: ResolutionThresholds | None
    cost: RequestCost
    priority: int = 0
    tenant: str = ""
    text_tokens: int = 0
    continue_from: ContinueFrom | None = None
