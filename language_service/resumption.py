"""Answers that go on where another replica was lost: what their client has, made ready to go on.

A token follows from the prompt, the tokens before it, the sampling and its place in the answer.
So an answer that is told its delivered tokens goes on as the lost one would have. One that was
complete, though its end was not told, is not computed again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.errors import InvalidRequestError
from common.types import AnswerSoFar, FinishReason, SamplingParameters, StopMatch
from language_service.answer_text import AnswerText
from language_service.detokenizer import Detokenizer
from language_service.generation import GenerationFinished

FIELD = "continue_from"


@dataclass(frozen=True, slots=True)
class ResumedAnswer:
    """One answer after its delivered tokens.

    Attributes:
        token_ids: The tokens.
        text: Has read them; None where the answer has ended.
        end: Of an answer that is complete; its text is what is still to be given out.
        is_told: Whether the client knows the end.
    """

    token_ids: tuple[int, ...] = ()
    text: AnswerText | None = None
    end: GenerationFinished | None = None
    is_told: bool = False


def check_answers(
    answers: Sequence[AnswerSoFar], sampling: SamplingParameters, vocabulary_size: int
) -> None:
    """Check that answers can have begun so.

    Raises:
        InvalidRequestError: One is too long, or has a token that the model does not have.
    """
    for answer in answers:
        if len(answer.token_ids) > sampling.max_tokens:
            raise InvalidRequestError(
                f"An answer has {len(answer.token_ids)} tokens; max_tokens is "
                f"{sampling.max_tokens}.",
                FIELD,
            )
        largest = max(answer.token_ids, default=0)
        if largest >= vocabulary_size:
            raise InvalidRequestError(
                f"An answer has token {largest}; the model has {vocabulary_size}.", FIELD
            )


def resume(
    answers: Sequence[AnswerSoFar],
    sampling: SamplingParameters,
    detokenizer: Callable[[], Detokenizer],
) -> tuple[ResumedAnswer, ...]:
    """Read what was delivered; the time it takes grows with it.

    Args:
        answers: In order.
        sampling: Of each; seeds do not matter here.
        detokenizer: Makes fresh ones.
    """
    return tuple(
        _resume(answer, choice, sampling, detokenizer) for choice, answer in enumerate(answers)
    )


def _resume(
    answer: AnswerSoFar,
    choice: int,
    sampling: SamplingParameters,
    detokenizer: Callable[[], Detokenizer],
) -> ResumedAnswer:
    if answer.end is not None:
        end = _finished(answer, choice, "", answer.end.finish_reason, answer.end.stop)
        return ResumedAnswer(answer.token_ids, end=end, is_told=True)
    text = AnswerText(detokenizer(), sampling.stop_strings)
    text.replay(answer.token_ids)
    if text.matched is None and len(answer.token_ids) < sampling.max_tokens:
        return ResumedAnswer(answer.token_ids, text)
    left = text.finish()
    stop = None if text.matched is None else StopMatch(text=text.matched)
    reason = FinishReason.LENGTH if stop is None else FinishReason.STOP
    return ResumedAnswer(answer.token_ids, end=_finished(answer, choice, left, reason, stop))


def _finished(
    answer: AnswerSoFar, choice: int, text: str, reason: FinishReason, stop: StopMatch | None
) -> GenerationFinished:
    return GenerationFinished(
        finish_reason=reason,
        text=text,
        num_completion_tokens=len(answer.token_ids),
        queue_seconds=0.0,
        prefill_seconds=0.0,
        decode_seconds=0.0,
        stop=stop,
        choice=choice,
    )
