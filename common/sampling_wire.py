"""Sampling fields between the wire and `SamplingRequest`, alike at every door.

No bounds are checked here: the router does that once, at the public door.
"""

from common.types import (
    AnswerSoFar,
    ChoiceEnd,
    FinishReason,
    SamplingRequest,
    StopMatch,
    TokenBias,
)
from protos.dvd.v1 import inference_pb2

FINISH_REASONS = {
    inference_pb2.FINISH_REASON_STOP: FinishReason.STOP,
    inference_pb2.FINISH_REASON_LENGTH: FinishReason.LENGTH,
}
WIRE_FINISH_REASONS = {reason: wire for wire, reason in FINISH_REASONS.items()}

OPTIONAL_FIELDS = ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def read_sampling(wire: inference_pb2.SamplingParameters) -> SamplingRequest:
    """Translate from the wire; an unset seed reads 0."""
    given = {name: getattr(wire, name) for name in OPTIONAL_FIELDS if wire.HasField(name)}
    return SamplingRequest(
        seed=wire.seed,
        **given,
        presence_penalty=wire.presence_penalty,
        frequency_penalty=wire.frequency_penalty,
        logit_bias=tuple(TokenBias(*item) for item in sorted(wire.logit_bias.items())),
        stop_strings=tuple(wire.stop),
        stop_token_ids=tuple(wire.stop_token_ids),
        ignore_eos=wire.ignore_eos,
        num_logprobs=wire.logprobs if wire.HasField("logprobs") else None,
        num_choices=wire.n if wire.HasField("n") else 1,
    )


def write_sampling(sampling: SamplingRequest) -> inference_pb2.SamplingParameters:
    """Translate to the wire; the inverse of `read_sampling`."""
    return inference_pb2.SamplingParameters(
        **{name: getattr(sampling, name) for name in OPTIONAL_FIELDS},
        seed=sampling.seed,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        logit_bias={each.token_id: each.bias for each in sampling.logit_bias},
        stop=sampling.stop_strings,
        stop_token_ids=sampling.stop_token_ids,
        ignore_eos=sampling.ignore_eos,
        logprobs=sampling.num_logprobs,
        n=sampling.num_choices,
    )


def read_stop(wire: inference_pb2.StopMatch) -> StopMatch | None:
    """Translate from the wire; None where nothing is set."""
    kind = wire.WhichOneof("stop")
    if kind is None:
        return None
    return StopMatch(text=wire.text) if kind == "text" else StopMatch(token_id=wire.token_id)


def write_stop(stop: StopMatch | None) -> inference_pb2.StopMatch | None:
    """Translate to the wire; None stays unset."""
    if stop is None:
        return None
    if stop.token_id is not None:
        return inference_pb2.StopMatch(token_id=stop.token_id)
    return inference_pb2.StopMatch(text=stop.text)


def read_choice(wire: inference_pb2.ChoiceEnd) -> ChoiceEnd:
    """Translate from the wire."""
    reason = FINISH_REASONS[wire.finish_reason]
    return ChoiceEnd(reason, wire.completion_tokens, read_stop(wire.stop))


def write_choice(end: ChoiceEnd) -> inference_pb2.ChoiceEnd:
    """Translate to the wire."""
    return inference_pb2.ChoiceEnd(
        finish_reason=WIRE_FINISH_REASONS[end.finish_reason],
        completion_tokens=end.num_completion_tokens,
        stop=write_stop(end.stop),
    )


def read_answer(wire: inference_pb2.AnswerSoFar) -> AnswerSoFar:
    """Translate from the wire."""
    end = read_choice(wire.end) if wire.HasField("end") else None
    return AnswerSoFar(tuple(wire.token_ids), end)


def write_answer(answer: AnswerSoFar) -> inference_pb2.AnswerSoFar:
    """Translate to the wire."""
    end = None if answer.end is None else write_choice(answer.end)
    return inference_pb2.AnswerSoFar(token_ids=answer.token_ids, end=end)
