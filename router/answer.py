"""What the router tells a client: the events of one answer."""

from dataclasses import dataclass, field

from common.resolution_rule import ResolutionThresholds
from common.tiling import TileGrid
from common.types import ChoiceEnd, FinishReason, ResolutionScope, StopMatch


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """The request was admitted.

    Attributes:
        request_id: Its name.
        seed: Seed in use.
        image_tiles: Tiles of each picture.
    """

    request_id: str
    seed: int
    image_tiles: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its text alone, and the natural logarithm of its probability."""

    token_id: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log probabilities at one place of an answer.

    Attributes:
        chosen: The token that the answer has there.
        top: The likeliest tokens, likeliest first.
    """

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What a request used.

    Attributes:
        text_tokens: Prompt tokens that are text.
        visual_tokens: Prompt tokens that are pictures.
        visual_tokens_before_resolution: The same without the visual resolution router.
        tiles: Tiles over all pictures.
        compressed_tiles: Tiles sent at the compressed rate.
        completion_tokens: Tokens of the answer.
        cached_tokens: Prompt tokens that were not computed for this request.
    """

    text_tokens: int
    visual_tokens: int
    visual_tokens_before_resolution: int
    tiles: int
    compressed_tiles: int
    completion_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class ImageResolution:
    """How one picture was cut and compressed.

    Attributes:
        grid: Its tiles.
        scores: Probability that a tile may be compressed; empty without a gate.
        compressed: Whether each tile was.
        orientation: EXIF orientation that was applied; 1 where it stayed as stored.
    """

    grid: TileGrid
    scores: tuple[float, ...]
    compressed: tuple[bool, ...]
    orientation: int = 1


@dataclass(frozen=True, slots=True)
class AppliedResolution:
    """The resolution rule that a request was decided by.

    Attributes:
        scope: Its scope.
        thresholds: Its thresholds.
        is_raised: Whether load has made it compress more than was asked for.
    """

    scope: ResolutionScope
    thresholds: ResolutionThresholds
    is_raised: bool


@dataclass(frozen=True, slots=True)
class AnswerDecided:
    """All pictures are decided and sent.

    Attributes:
        images: How each was cut and compressed.
        resolution: How tiles were chosen to be compressed; None without a gate.
    """

    images: tuple[ImageResolution, ...]
    resolution: AppliedResolution | None


@dataclass(slots=True)
class StageSeconds:
    """Where the time of one request went, filled in as the stages report.

    Stages overlap across pictures, so they need not add up to the total.
    """

    queue: float = 0.0
    preprocess: float = 0.0
    vit: float = 0.0
    gate: float = 0.0
    project: float = 0.0
    transfer: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    time_to_first_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class AnswerFinished:
    """The answer is complete.

    Attributes:
        finish_reason: Why it ended.
        usage: What it used.
        seconds: Where the time went.
        images: How each picture was cut and compressed.
        stop: The one of the request's own stops that ended it; None where none did.
        choices: The ends of several answers, in order; empty for one.
        resolution: How tiles were chosen to be compressed; None without a gate.
        num_resumptions: How often it went on at another language replica.
    """

    finish_reason: FinishReason
    usage: TokenUsage
    seconds: StageSeconds
    images: tuple[ImageResolution, ...] = field(default=())
    stop: StopMatch | None = None
    choices: tuple[ChoiceEnd, ...] = ()
    resolution: AppliedResolution | None = None
    num_resumptions: int = 0
