"""The sampling fields of a request, every bound checked."""

import math
import secrets
from dataclasses import dataclass, replace

from common.errors import InvalidRequestError
from common.sampling_wire import OPTIONAL_FIELDS, read_sampling
from common.types import SamplingRequest
from protos.dvd.v1 import inference_pb2

MAX_SEED = 2**63 - 1
MAX_STOPS, MAX_STOP_CHARACTERS = 16, 256
MAX_STOP_TOKENS = 128
MAX_BIASES, MAX_BIAS = 1024, 100.0
MAX_LOGPROBS = 20
MAX_CHOICES = 16


@dataclass(frozen=True, slots=True)
class Range:
    """Values that a number may take.

    Attributes:
        low: Smallest.
        high: Largest.
        is_open: Whether `low` itself is left out.
    """

    low: float
    high: float
    is_open: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value lies within; what is not a number lies in no range."""
        return self.low <= value <= self.high and not (self.is_open and value == self.low)

    def __str__(self) -> str:
        if self.is_open:
            return f"more than {self.low:g} and at most {self.high:g}"
        return f"from {self.low:g} to {self.high:g}"


RANGES = {
    "temperature": Range(0, 2),
    "top_p": Range(0, 1, is_open=True),
    "min_p": Range(0, 1),
    "repetition_penalty": Range(0, 10, is_open=True),
    "presence_penalty": Range(-2, 2),
    "frequency_penalty": Range(-2, 2),
}


def validate_sampling(wire: inference_pb2.SamplingParameters) -> SamplingRequest:
    """Check every bound and draw a seed where none is given.

    Raises:
        InvalidRequestError: Names the field at fault and its bound.
    """
    for name, values in RANGES.items():
        if name not in OPTIONAL_FIELDS or wire.HasField(name):
            _check_number(name, getattr(wire, name), values, f"sampling.{name}")
    if wire.HasField("max_tokens") and wire.max_tokens == 0:
        raise InvalidRequestError("max_tokens must be at least 1.", "sampling.max_tokens")
    if wire.HasField("n") and not 1 <= wire.n <= MAX_CHOICES:
        raise InvalidRequestError(
            f"n must be from 1 to {MAX_CHOICES}; it is {wire.n}.", "sampling.n"
        )
    if wire.logprobs > MAX_LOGPROBS:
        raise InvalidRequestError(
            f"logprobs must be at most {MAX_LOGPROBS}; it is {wire.logprobs}.", "sampling.logprobs"
        )
    _check_stops(wire)
    _check_biases(wire)
    seed = wire.seed if wire.HasField("seed") else secrets.randbelow(MAX_SEED + 1)
    if seed > MAX_SEED:
        raise InvalidRequestError(f"seed must be at most {MAX_SEED}.", "sampling.seed")
    return replace(read_sampling(wire), seed=seed)


def _check_number(name: str, value: float, values: Range, field: str) -> None:
    if not values.holds(value):
        shown = "not a number" if math.isnan(value) else f"{value:g}"
        raise InvalidRequestError(f"{name} must be {values}; it is {shown}.", field)


def _check_stops(wire: inference_pb2.SamplingParameters) -> None:
    if len(wire.stop) > MAX_STOPS:
        raise InvalidRequestError(
            f"A request may have {MAX_STOPS} stop texts; it has {len(wire.stop)}.", "sampling.stop"
        )
    for index, text in enumerate(wire.stop):
        if not 1 <= len(text) <= MAX_STOP_CHARACTERS:
            raise InvalidRequestError(
                f"A stop text has 1 to {MAX_STOP_CHARACTERS} characters; it has {len(text)}.",
                f"sampling.stop[{index}]",
            )
    if len(wire.stop_token_ids) > MAX_STOP_TOKENS:
        raise InvalidRequestError(
            f"A request may have {MAX_STOP_TOKENS} stop tokens; it has {len(wire.stop_token_ids)}.",
            "sampling.stop_token_ids",
        )


def _check_biases(wire: inference_pb2.SamplingParameters) -> None:
    if len(wire.logit_bias) > MAX_BIASES:
        raise InvalidRequestError(
            f"A request may have {MAX_BIASES} logit biases; it has {len(wire.logit_bias)}.",
            "sampling.logit_bias",
        )
    values = Range(-MAX_BIAS, MAX_BIAS)
    for token_id, bias in wire.logit_bias.items():
        _check_number("A logit bias", bias, values, f"sampling.logit_bias[{token_id}]")
