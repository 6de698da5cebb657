"""`generation_config.json`, in every shape that is published."""

import json
from pathlib import Path

import pytest

from common.errors import CheckpointError
from common.types import SamplingParameters, SamplingRequest, TokenBias
from language_service.generation_defaults import (
    GenerationDefaults,
    SamplingDefaults,
    load_generation_defaults,
)


def defaults(directory: Path, **document: object) -> GenerationDefaults:
    (directory / "generation_config.json").write_text(json.dumps(document))
    return load_generation_defaults(directory)


def test_no_file_is_greedy(tmp_path: Path) -> None:
    assert load_generation_defaults(tmp_path) == GenerationDefaults(SamplingDefaults(), frozenset())


def test_one_end_or_several(tmp_path: Path) -> None:
    assert defaults(tmp_path, eos_token_id=7).eos_token_ids == {7}
    assert defaults(tmp_path, eos_token_id=[7, 9]).eos_token_ids == {7, 9}


@pytest.mark.parametrize(
    ("document", "temperature"),
    [
        ({"temperature": 0.6}, 0.0),
        ({"do_sample": False, "temperature": 0.6}, 0.0),
        ({"do_sample": True, "temperature": 0.6}, 0.6),
        ({"do_sample": True}, 1.0),
    ],
)
def test_temperature_counts_only_with_sampling(
    tmp_path: Path, document: dict[str, object], temperature: float
) -> None:
    assert defaults(tmp_path, **document).sampling.temperature == temperature


def test_filters_and_penalty_are_read_whether_it_samples_or_not(tmp_path: Path) -> None:
    document = {"top_k": 20, "top_p": 0.95, "min_p": 0.1, "repetition_penalty": 1.05}
    expected = SamplingDefaults(0.0, 20, 0.95, 0.1, 1.05)
    assert defaults(tmp_path, **document).sampling == expected
    assert defaults(tmp_path, **dict.fromkeys(document)).sampling == SamplingDefaults()


DEFAULTS = SamplingDefaults(0.6, 20, 0.95, 0.1, 1.05)


def test_what_a_request_leaves_open_is_filled_in() -> None:
    assert DEFAULTS.resolve(SamplingRequest(seed=4), 9) == SamplingParameters(
        9, 0.6, 4, 20, 0.95, 0.1, 1.05
    )


def test_what_a_request_chooses_wins_even_where_it_is_nothing() -> None:
    asked = SamplingRequest(
        4, None, 0.0, 0, 1.0, 0.0, 1.0, -1.0, 2.0, (TokenBias(3, 1.0),), ("a",), (5,), True, 3
    )
    assert DEFAULTS.resolve(asked, 9) == SamplingParameters(
        9, 0.0, 4, 0, 1.0, 0.0, 1.0, -1.0, 2.0, (TokenBias(3, 1.0),), ("a",), (5,), True, 3
    )


@pytest.mark.parametrize(
    "document",
    [
        {"eos_token_id": "end"},
        {"temperature": "hot"},
        {"temperature": -1},
        {"top_k": True},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"repetition_penalty": 0},
    ],
)
def test_wrong_types_are_named(tmp_path: Path, document: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match=next(iter(document))):
        defaults(tmp_path, **document)
