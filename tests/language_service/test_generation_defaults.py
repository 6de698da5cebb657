"""`generation_config.json`, in every shape that is published."""

import json
from pathlib import Path

import pytest

from common.errors import CheckpointError
from language_service.generation_defaults import GenerationDefaults, load_generation_defaults


def defaults(directory: Path, **document: object) -> GenerationDefaults:
    (directory / "generation_config.json").write_text(json.dumps(document))
    return load_generation_defaults(directory)


def test_no_file_is_greedy(tmp_path: Path) -> None:
    assert load_generation_defaults(tmp_path) == GenerationDefaults(0.0, frozenset())


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
    assert defaults(tmp_path, **document).temperature == temperature


@pytest.mark.parametrize("document", [{"eos_token_id": "end"}, {"temperature": "hot"}])
def test_wrong_types_are_named(tmp_path: Path, document: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match=next(iter(document))):
        defaults(tmp_path, **document)
