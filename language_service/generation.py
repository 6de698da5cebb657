"""One request as its submitter sees it: what was asked, and the events that answer it.

Every submitted request gets any number of `TokensGenerated` and then exactly one
`GenerationFinished` or `GenerationFailed`, all from the engine's thread.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from common.errors import DvdError
from common.types import ChoiceEnd, FinishReason, SamplingParameters, StopMatch
from language_service.answer_text import AnswerText
from language_service.block_tables import PrefixHold
from language_service.logprobs import TokenLogprobs
from language_service.prompt import Prompt, VisualSegment
from language_service.sequence import Sequence


class TokensGenerated(NamedTuple):
    """More of the answer; a tuple, because every step makes one for every answer.

    Attributes:
        token_ids: New tokens.
        text: What they settle; lags behind while a character is incomplete or a stop text may
            follow.
        logprobs: One a token where the request asked, else none.
        choice: Of the request.
        end: How this choice ended; None in all but its last piece.
    """

    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[TokenLogprobs, ...] = ()
    choice: int = 0
    end: ChoiceEnd | None = None


@dataclass(frozen=True, slots=True)
class GenerationFinished:
    """The answer is complete.

    Attributes:
        finish_reason: Why.
        text: What was held back.
        num_completion_tokens: Tokens of the answer, those delivered elsewhere among them; one
            that ended it is not.
        queue_seconds: From the last picture, or from submission, to the first step.
        prefill_seconds: From there, or from the last picture, to the first token.
        decode_seconds: From the first token to the end.
        num_cached_tokens: Prompt tokens that the cache knew already.
        stop: The one of the request's own stops that ended it; None where none did.
        choice: Of the request.
    """

    finish_reason: FinishReason
    text: str
    num_completion_tokens: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float
    num_cached_tokens: int = 0
    stop: StopMatch | None = None
    choice: int = 0

    @property
    def end(self) -> ChoiceEnd:
        """What the client is told of it."""
        return ChoiceEnd(self.finish_reason, self.num_completion_tokens, self.stop)


@dataclass(frozen=True, slots=True)
class GenerationFailed:
    """There is no answer; a cancelled request ends so too, with `CancelledRequestError`."""

    error: DvdError


EngineEvent = TokensGenerated | GenerationFinished | GenerationFailed


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to generate.

    Attributes:
        request_id: Unique among the requests in the engine.
        prompt: What the model reads first; missing pictures are supplied as they come.
        sampling: How the answer's tokens are chosen.
        on_event: Called in the engine's thread; must return at once and never raise.
        hold: What keeps the pictures that have no embedding; the engine's from now on.
        priority: Steps of head start over other requests.
        deadline: Time, on the engine's clock, at which it ends without an answer.
        choice: Which of several answers to one prompt it is; its events repeat it.
        delivered_ids: Tokens that the answer has already, fewer than it may have.
        text: Has read them, and is the engine's from now on; None for none.
    """

    request_id: str
    prompt: Prompt
    sampling: SamplingParameters
    on_event: Callable[[EngineEvent], None]
    hold: PrefixHold | None = None
    priority: int = 0
    deadline: float = math.inf
    choice: int = 0
    delivered_ids: tuple[int, ...] = ()
    text: AnswerText | None = None


class Generation:
    """A request under way: its sequence, its text, its clock times.

    Args:
        request: What to generate.
        text: Has read the delivered tokens.
        now: Time of submission in seconds.
    """

    def __init__(self, request: GenerationRequest, text: AnswerText, now: float) -> None:
        self.sequence = Sequence(
            request.request_id,
            request.prompt,
            request.sampling,
            request.hold,
            delivered_ids=request.delivered_ids,
        )
        self.priority = request.priority
        self.deadline = request.deadline
        self.submitted = now
        self._choice = request.choice
        self._on_event = request.on_event
        self._text = text
        # The prompt is complete; its first step was planned; its last one is over.
        self._completed = self._started = now
        self._first_token: float | None = None

    def supply(self, image_index: int, picture: VisualSegment, now: float) -> None:
        """Add a picture that has come."""
        self.sequence.supply(image_index, picture)
        self._completed = now

    def start(self, now: float) -> None:
        """Note the first step."""
        self._started = now

    def note_token(self, now: float) -> None:
        """Note the end of the prompt's computation, whatever token came of it."""
        if self._first_token is None:
            self._first_token = now

    @property
    def has_stopped(self) -> bool:
        """Whether a stop text has been found."""
        return self._text.matched is not None

    def deliver(self, token_id: int, logprobs: TokenLogprobs | None) -> None:
        """Add a token to the answer."""
        self.sequence.output_ids.append(token_id)
        text = self._text.push(token_id)
        reported = () if logprobs is None else (logprobs,)
        self._on_event(TokensGenerated((token_id,), text, reported, self._choice))

    def finish(self, reason: FinishReason, now: float, stop_token_id: int | None = None) -> None:
        """Tell that the answer is complete.

        Args:
            reason: Why; a stop text that the last text held back turns out to complete wins.
            now: Time in seconds.
            stop_token_id: The one of the request's stop tokens that ended it.
        """
        text = self._text.finish()
        stop = None if stop_token_id is None else StopMatch(token_id=stop_token_id)
        if self._text.matched is not None:
            reason, stop = FinishReason.STOP, StopMatch(text=self._text.matched)
        first_token = now if self._first_token is None else self._first_token
        self._on_event(
            GenerationFinished(
                finish_reason=reason,
                text=text,
                num_completion_tokens=len(self.sequence.output_ids),
                queue_seconds=max(self._started - self._completed, 0.0),
                prefill_seconds=first_token - max(self._started, self._completed),
                decode_seconds=now - first_token,
                num_cached_tokens=self.sequence.num_cached_tokens or 0,
                stop=stop,
                choice=self._choice,
            )
        )

    def fail(self, error: DvdError) -> None:
        """Tell that there will be no answer."""
        self._on_event(GenerationFailed(error))
