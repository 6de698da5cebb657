"""What a checkpoint says about generation: `generation_config.json`, which may be absent."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import CheckpointError
from common.model_config import read_json


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """The model's own choices, for whatever a request leaves open.

    Attributes:
        temperature: 0 for greedy.
        eos_token_ids: Tokens that end an answer; may be empty here, the tokenizer knows more.
    """

    temperature: float
    eos_token_ids: frozenset[int]


def load_generation_defaults(directory: Path) -> GenerationDefaults:
    """Read the defaults as transformers does: without `do_sample` a model is greedy.

    Raises:
        CheckpointError: The file is no JSON object, or a value has the wrong type.
    """
    document = read_json(directory / "generation_config.json") or {}
    eos = document.get("eos_token_id")
    ids = [] if eos is None else eos if isinstance(eos, list) else [eos]
    if not all(isinstance(token_id, int) for token_id in ids):
        raise CheckpointError(f"generation_config.json has eos_token_id = {eos!r}.")
    temperature = document.get("temperature", 1.0)
    if not isinstance(temperature, int | float) or temperature < 0:
        raise CheckpointError(f"generation_config.json has temperature = {temperature!r}.")
    sampled = document.get("do_sample", False)
    return GenerationDefaults(float(temperature) if sampled else 0.0, frozenset(ids))
