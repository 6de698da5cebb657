"""What a router counts of requests and answers, as its doors see them; `metrics` exports it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from common.distribution import (
    FIRST_TOKEN_SECONDS,
    PIECES,
    REQUEST_SECONDS,
    STAGE_SECONDS,
    TOKEN_SECONDS,
    TOKENS,
    Distribution,
)
from router.answer import AnswerFinished, StageSeconds, TokenUsage


def _over(bounds: tuple[float, ...]) -> Callable[[], Distribution]:
    return lambda: Distribution(bounds)


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long answers spent in each stage, added up over pictures, in seconds."""

    queue: Distribution = field(default_factory=_over(STAGE_SECONDS))
    preprocess: Distribution = field(default_factory=_over(STAGE_SECONDS))
    vit: Distribution = field(default_factory=_over(STAGE_SECONDS))
    gate: Distribution = field(default_factory=_over(STAGE_SECONDS))
    project: Distribution = field(default_factory=_over(STAGE_SECONDS))
    transfer: Distribution = field(default_factory=_over(STAGE_SECONDS))
    prefill: Distribution = field(default_factory=_over(STAGE_SECONDS))
    decode: Distribution = field(default_factory=_over(STAGE_SECONDS))

    def note(self, seconds: StageSeconds, has_images: bool) -> None:
        """Add one answer; the stages of pictures only where it has some."""
        self.queue.note(seconds.queue)
        self.prefill.note(seconds.prefill)
        self.decode.note(seconds.decode)
        if has_images:
            self.preprocess.note(seconds.preprocess)
            self.vit.note(seconds.vit)
            self.gate.note(seconds.gate)
            self.project.note(seconds.project)
            self.transfer.note(seconds.transfer)


@dataclass(slots=True)
class DoorStats:
    """All answers of one router, used from the event loop alone.

    Attributes:
        request_seconds: From arrival to the end, of answers that are complete.
        first_token_seconds: From arrival to the first token.
        inter_token_seconds: Before each further token.
        token_seconds: Of each answer from first to last token, by its further tokens.
        stages: Where the time of answers that are complete went.
        prompt_tokens: Of each of them.
        generation_tokens: Likewise.
        images: Likewise.
        tiles: Likewise.
        num_delivered_tokens: Given to clients, whatever became of their requests.
        num_compressed_tiles: Of answers that are complete.
        num_full_tokens: Their visual tokens without the visual resolution router.
        num_visual_tokens: Their visual tokens.
        num_raised: Answers that load has made compress more.
        num_resumptions: Times that they went on at another replica.
    """

    request_seconds: Distribution = field(default_factory=_over(REQUEST_SECONDS))
    first_token_seconds: Distribution = field(default_factory=_over(FIRST_TOKEN_SECONDS))
    inter_token_seconds: Distribution = field(default_factory=_over(TOKEN_SECONDS))
    token_seconds: Distribution = field(default_factory=_over(TOKEN_SECONDS))
    stages: StageTimes = field(default_factory=StageTimes)
    prompt_tokens: Distribution = field(default_factory=_over(TOKENS))
    generation_tokens: Distribution = field(default_factory=_over(TOKENS))
    images: Distribution = field(default_factory=_over(PIECES))
    tiles: Distribution = field(default_factory=_over(PIECES))
    num_delivered_tokens: int = 0
    num_compressed_tiles: int = 0
    num_full_tokens: int = 0
    num_visual_tokens: int = 0
    num_raised: int = 0
    num_resumptions: int = 0

    def note_finished(self, finished: AnswerFinished) -> None:
        """Add an answer that is complete."""
        self._note_usage(finished.usage)
        self.images.note(len(finished.images))
        self.stages.note(finished.seconds, bool(finished.images))
        self.num_resumptions += finished.num_resumptions
        if finished.resolution is not None:
            self.num_raised += finished.resolution.is_raised

    def _note_usage(self, usage: TokenUsage) -> None:
        self.prompt_tokens.note(usage.text_tokens + usage.visual_tokens)
        self.generation_tokens.note(usage.completion_tokens)
        self.tiles.note(usage.tiles)
        self.num_compressed_tiles += usage.compressed_tiles
        self.num_full_tokens += usage.visual_tokens_before_resolution
        self.num_visual_tokens += usage.visual_tokens
