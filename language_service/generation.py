"""One request as its submitter sees it: what was asked, and the events that answer it.

Every submitted request gets any number of `TokensGenerated` and then exactly one
`GenerationFinished` or `GenerationFailed`, all from the engine's thread.
"""

from collections.abc import Callable
from dataclasses import dataclass

from common.errors import DvdError
from common.types import FinishReason, SamplingParameters
from language_service.detokenizer import Detokenizer
from language_service.prompt import Prompt
from language_service.sequence import Sequence


@dataclass(frozen=True, slots=True)
class TokensGenerated:
    """More of the answer.

    Attributes:
        token_ids: New tokens.
        text: What they settle; lags behind while a character is incomplete.
    """

    token_ids: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class GenerationFinished:
    """The answer is complete.

    Attributes:
        finish_reason: Why.
        text: What was held back.
        num_completion_tokens: Tokens given out; one that ended the answer is not among them.
        queue_seconds: From submission to the first step.
        prefill_seconds: From the first step to the first token.
        decode_seconds: From the first token to the end.
    """

    finish_reason: FinishReason
    text: str
    num_completion_tokens: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float


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
        prompt: What the model reads first.
        sampling: How the answer's tokens are chosen.
        on_event: Called in the engine's thread; must return at once and never raise.
    """

    request_id: str
    prompt: Prompt
    sampling: SamplingParameters
    on_event: Callable[[EngineEvent], None]


class Generation:
    """A request under way: its sequence, its text, its clock times.

    Args:
        request: What to generate.
        detokenizer: A fresh one.
        now: Time of submission in seconds.
    """

    def __init__(self, request: GenerationRequest, detokenizer: Detokenizer, now: float) -> None:
        self.sequence = Sequence(request.request_id, request.prompt, request.sampling)
        self._on_event = request.on_event
        self._detokenizer = detokenizer
        self._submitted = self._started = self._first_token = now

    def start(self, now: float) -> None:
        """Note the first step."""
        self._started = now

    def note_first_token(self, now: float) -> None:
        """Note the end of the prompt's computation, whatever token came of it."""
        self._first_token = now

    def deliver(self, token_id: int) -> None:
        """Add a token to the answer."""
        self.sequence.output_ids.append(token_id)
        self._on_event(TokensGenerated((token_id,), self._detokenizer.push((token_id,))))

    def finish(self, reason: FinishReason, now: float) -> None:
        """Tell that the answer is complete."""
        self._on_event(
            GenerationFinished(
                finish_reason=reason,
                text=self._detokenizer.finish(),
                num_completion_tokens=len(self.sequence.output_ids),
                queue_seconds=self._started - self._submitted,
                prefill_seconds=self._first_token - self._started,
                decode_seconds=now - self._first_token,
            )
        )

    def fail(self, error: DvdError) -> None:
        """Tell that there will be no answer."""
        self._on_event(GenerationFailed(error))
