"""What a client has of its answer: enough for any language replica to go on behind it.

Tokens follow from the prompt, the masks of its pictures, the sampling with its seed, and the
tokens before them. So a request that keeps those can lose its language replica, or come from
another router, and its client sees one answer: no token twice, none missing.
"""

import time

from common.types import AnswerSoFar, ChoiceEnd
from router.answer import (
    AnswerDecided,
    AnswerStarted,
    AppliedResolution,
    ImageResolution,
    StageSeconds,
)
from router.attempts import Attempts
from router.known_resolutions import KnownResolution, known_resolutions
from router.language_client import AnswerDelta, AnswerEnd
from router.placed_pictures import PlacedPictures
from router.requests import ValidRequest
from router.score_memory import ScoreMemory


class Progress:
    """How far one request has come, over all attempts at it.

    Args:
        request: Whose.
        resolution: The rule that its pictures are decided by; None without a gate.

    Attributes:
        attempts: At a language replica.
        pictures: Where their features are.
        seconds: Where the time went, over all attempts.
        decided: What the client is told of the pictures; None while that is not known.
    """

    def __init__(self, request: ValidRequest, resolution: AppliedResolution | None) -> None:
        self.request = request
        self.attempts = Attempts()
        self.pictures = PlacedPictures()
        self.seconds = StageSeconds()
        self.decided: AnswerDecided | None = None
        self.resolution = resolution
        self._arrived = time.monotonic()
        self._decoding_since: float | None = None
        num_choices = request.sampling.num_choices
        self._token_ids: list[list[int]] = [[] for _ in range(num_choices)]
        self._ends: list[ChoiceEnd | None] = [None] * num_choices
        if request.continue_from is not None:
            self._token_ids = [list(each.token_ids) for each in request.continue_from.answers]
            self._ends = [each.end for each in request.continue_from.answers]
            self.decided = request.continue_from.decided
            if self.decided is not None:
                self.resolution = self.decided.resolution

    @property
    def answers(self) -> tuple[AnswerSoFar, ...]:
        """What the client has of each answer; empty where it has nothing."""
        if not any(self._token_ids) and not any(self._ends):
            return ()
        pairs = zip(self._token_ids, self._ends, strict=True)
        return tuple(AnswerSoFar(tuple(token_ids), end) for token_ids, end in pairs)

    @property
    def started(self) -> AnswerStarted:
        """What the client is told first."""
        request = self.request
        tiles = tuple(image.grid.num_tiles for image in request.images)
        return AnswerStarted(request.request_id, request.sampling.seed, tiles)

    @property
    def images(self) -> tuple[ImageResolution, ...]:
        """How the pictures are cut and compressed; empty while that is not known."""
        return () if self.decided is None else self.decided.images

    def known(self, memory: ScoreMemory) -> tuple[KnownResolution | None, ...]:
        """Resolutions that are decided already, in this request or by remembered scores."""
        if self.decided is None:
            return known_resolutions(self.request, memory)
        return tuple(KnownResolution(each.scores, each.compressed) for each in self.decided.images)

    def decide(self, images: tuple[ImageResolution, ...]) -> AnswerDecided | None:
        """Keep what is decided for all attempts to come; what the client is to be told of it."""
        if self.decided is not None or not images:
            return None
        self.decided = AnswerDecided(images, self.resolution)
        return self.decided

    def note(self, delta: AnswerDelta) -> None:
        """Take note of what the client is given now."""
        self._token_ids[delta.choice] += delta.token_ids
        self._ends[delta.choice] = delta.end
        if self._decoding_since is None and delta.token_ids:
            self._decoding_since = time.monotonic()
            self.seconds.time_to_first_token = (
                self.seconds.time_to_first_token or self._decoding_since - self._arrived
            )

    def note_loss(self) -> None:
        """Take note that a replica was lost; what it has not told is what was seen of it."""
        if self._decoding_since is not None:
            self.seconds.decode += time.monotonic() - self._decoding_since
            self._decoding_since = None

    def note_end(self, end: AnswerEnd) -> None:
        """Take note of the times that the last replica tells."""
        self.seconds.queue += end.queue_seconds
        self.seconds.prefill += end.prefill_seconds
        self.seconds.decode += end.decode_seconds
        self.seconds.total = time.monotonic() - self._arrived
