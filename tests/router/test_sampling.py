"""The sampling fields at the door: each bound kept, each refusal with its field and sentence."""

import math
from typing import Any

import pytest

from common.errors import InvalidRequestError
from common.types import SamplingRequest, TokenBias
from protos.dvd.v1 import inference_pb2
from router.sampling import MAX_SEED, validate_sampling


def validate(**fields: Any) -> SamplingRequest:
    return validate_sampling(inference_pb2.SamplingParameters(**fields))


def refusal(**fields: Any) -> tuple[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        validate(**fields)
    return caught.value.field, caught.value.message


NUMBERS = {
    "temperature": ("from 0 to 2", [0.0, 2.0], [-0.5, 2.5, math.inf, -math.inf]),
    "top_p": ("more than 0 and at most 1", [0.25, 1.0], [0.0, -1.0, 1.5]),
    "min_p": ("from 0 to 1", [0.0, 1.0], [-0.25, 1.5]),
    "repetition_penalty": ("more than 0 and at most 10", [0.5, 10.0], [0.0, -1.0, 10.5]),
    "presence_penalty": ("from -2 to 2", [-2.0, 2.0], [-2.5, 2.5]),
    "frequency_penalty": ("from -2 to 2", [-2.0, 2.0], [-2.5, 2.5]),
}
REFUSED = [(name, value) for name, (_, _, values) in NUMBERS.items() for value in values]
TAKEN = [(name, value) for name, (_, values, _) in NUMBERS.items() for value in values]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_number_outside_its_bounds_is_refused(name: str, value: float) -> None:
    sentence = f"{name} must be {NUMBERS[name][0]}; it is {value:g}."
    assert refusal(**{name: value}) == (f"sampling.{name}", sentence)


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_not_a_number_is_refused(name: str) -> None:
    field, sentence = refusal(**{name: math.nan})
    assert field == f"sampling.{name}"
    assert sentence.endswith("it is not a number.")


@pytest.mark.parametrize(("name", "value"), TAKEN)
def test_a_number_may_reach_its_bounds(name: str, value: float) -> None:
    assert getattr(validate(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({"max_tokens": 0}, "max_tokens", "max_tokens must be at least 1."),
        ({"seed": MAX_SEED + 1}, "seed", f"seed must be at most {MAX_SEED}."),
        ({"n": 0}, "n", "n must be from 1 to 16; it is 0."),
        ({"n": 17}, "n", "n must be from 1 to 16; it is 17."),
        ({"logprobs": 21}, "logprobs", "logprobs must be at most 20; it is 21."),
        ({"stop": ["a"] * 17}, "stop", "A request may have 16 stop texts; it has 17."),
        (
            {"stop": ["a", ""]},
            "stop[1]",
            "A stop text has 1 to 256 characters; it has 0.",
        ),
        (
            {"stop": ["a" * 257]},
            "stop[0]",
            "A stop text has 1 to 256 characters; it has 257.",
        ),
        (
            {"stop_token_ids": range(129)},
            "stop_token_ids",
            "A request may have 128 stop tokens; it has 129.",
        ),
        (
            {"logit_bias": dict.fromkeys(range(1025), 1.0)},
            "logit_bias",
            "A request may have 1024 logit biases; it has 1025.",
        ),
        (
            {"logit_bias": {7: 100.5}},
            "logit_bias[7]",
            "A logit bias must be from -100 to 100; it is 100.5.",
        ),
        (
            {"logit_bias": {0: math.nan}},
            "logit_bias[0]",
            "A logit bias must be from -100 to 100; it is not a number.",
        ),
    ],
)
def test_a_refusal_names_field_and_bound(fields: dict[str, Any], field: str, sentence: str) -> None:
    assert refusal(**fields) == (f"sampling.{field}", sentence)


def test_nothing_asked_leaves_all_open() -> None:
    assert validate(seed=3) == SamplingRequest(seed=3)


def test_all_that_is_asked_is_kept_at_its_bounds() -> None:
    asked = validate(
        seed=MAX_SEED,
        max_tokens=1,
        top_k=0,
        stop=["a" * 256] * 16,
        stop_token_ids=range(128),
        logit_bias=dict.fromkeys(range(1024), -100.0),
        ignore_eos=True,
        logprobs=20,
        n=16,
    )
    assert (asked.seed, asked.max_tokens, asked.top_k) == (MAX_SEED, 1, 0)
    assert asked.stop_strings == ("a" * 256,) * 16
    assert asked.stop_token_ids == tuple(range(128))
    assert asked.logit_bias == tuple(TokenBias(token_id, -100.0) for token_id in range(1024))
    assert (asked.ignore_eos, asked.num_logprobs) == (True, 20)
    assert asked.num_choices == 16


def test_no_logprobs_are_told_from_those_of_the_chosen_token_alone() -> None:
    assert validate().num_logprobs is None
    assert validate(logprobs=0).num_logprobs == 0
