"""What a checkpoint says about generation: `generation_config.json`, which may be absent."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from common.errors import CheckpointError, InvalidRequestError
from common.json_file import Json, read_json
from common.types import SamplingParameters, SamplingRequest


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """The model's own choices, for whatever a request leaves open; as in `SamplingParameters`.

    The filters count even where the checkpoint is greedy by default: they wait for a request
    that names a temperature.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def resolve(self, asked: SamplingRequest, max_tokens: int) -> SamplingParameters:
        """Fill in what a request leaves open.

        Args:
            asked: The request's choices.
            max_tokens: Answer limit, whoever chose it.
        """
        filled: dict[str, Any] = {}
        for each in fields(self):
            given = getattr(asked, each.name)
            filled[each.name] = getattr(self, each.name) if given is None else given
        return SamplingParameters(
            max_tokens=max_tokens,
            seed=asked.seed,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            logit_bias=asked.logit_bias,
            stop_strings=asked.stop_strings,
            stop_token_ids=asked.stop_token_ids,
            ignore_eos=asked.ignore_eos,
            num_logprobs=asked.num_logprobs,
            **filled,
        )


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """All that the file says.

    Attributes:
        sampling: How tokens are chosen.
        eos_token_ids: Tokens that end an answer; may be empty here, the tokenizer knows more.
    """

    sampling: SamplingDefaults
    eos_token_ids: frozenset[int]


def load_generation_defaults(directory: Path) -> GenerationDefaults:
    """Read the defaults: without `do_sample` a model is greedy; a filter that is not named is off.

    Raises:
        CheckpointError: The file is no JSON object, or a value has the wrong type or is no choice.
    """
    document = read_json(directory / "generation_config.json") or {}
    eos = document.get("eos_token_id")
    ids = [] if eos is None else eos if isinstance(eos, list) else [eos]
    if not all(isinstance(token_id, int) for token_id in ids):
        raise CheckpointError(f"generation_config.json has eos_token_id = {eos!r}.")
    temperature = _number(document, "temperature", 1.0, 0, math.inf)
    sampling = SamplingDefaults(
        temperature=temperature if document.get("do_sample", False) else 0.0,
        top_k=int(_number(document, "top_k", 0, 0, math.inf)),
        top_p=_number(document, "top_p", 1.0, 0, 1),
        min_p=_number(document, "min_p", 0.0, 0, 1),
        repetition_penalty=_number(document, "repetition_penalty", 1.0, 1e-6, math.inf),
    )
    return GenerationDefaults(sampling, frozenset(ids))


def check_token_ids(asked: SamplingRequest, vocabulary_size: int) -> None:
    """Check that the tokens that a request names exist.

    Raises:
        InvalidRequestError: Names the field.
    """
    named = {
        "stop_token_ids": asked.stop_token_ids,
        "logit_bias": tuple(each.token_id for each in asked.logit_bias),
    }
    for name, token_ids in named.items():
        largest = max(token_ids, default=0)
        if largest >= vocabulary_size:
            raise InvalidRequestError(
                f"{name} names token {largest}; the model has {vocabulary_size}.",
                f"sampling.{name}",
            )


def _number(document: Json, key: str, default: float, low: float, high: float) -> float:
    value = document.get(key)
    if value is None:
        return default
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or value == math.inf:
        raise CheckpointError(f"generation_config.json has {key} = {value!r}.")
    return float(value)
