"""The reference of settings has every key, with its default and its sentence."""

import re
from collections.abc import Iterator
from typing import Literal

import pytest
from pydantic import BaseModel

from deploy.config import DeployConfig, LanguagePlacementConfig
from deploy.reference.generate import SETTINGS_FILE
from deploy.reference.settings import explained, settings_reference


@pytest.fixture(scope="module")
def written() -> str:
    return settings_reference()


def leaves(section: BaseModel, path: str = "") -> Iterator[str]:
    """Keys with a plain value in the configuration where nothing is configured."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield path + name


def test_it_is_written_anew_after_every_change(written: str) -> None:
    told = "run python -m deploy.reference.generate"
    assert SETTINGS_FILE.read_text(encoding="utf-8") == written, told


def test_every_key_is_explained_once(written: str) -> None:
    rows = [line for line in written.splitlines() if line.startswith("| `")]
    cells = [re.split(r" \| ", row.strip("| ")) for row in rows]
    assert all(len(row) == 4 and all(row) for row in cells)
    keys = [row[0].strip("`") for row in cells]
    assert len(keys) == len(set(keys))
    # Those within a section that is not set are not among the leaves.
    of_overload = {key for key in keys if key.startswith("router.resolution.overload.")}
    assert set(keys) - of_overload == set(leaves(DeployConfig()))
    assert len(of_overload) == 3


@pytest.mark.parametrize(
    "row",
    [
        "| `language.service.kv_tokens` | integer, `auto` | `auto` |",
        "| `router.http_port` | integer | `null` |",
        "| `router.resolution_scope` | `request`, `image`, `absolute`, `off` | `request` |",
        "| `vision.placement.labels` | map | `{}` |",
        "| `log.json_lines` | true, false | `false` |",
        "| `router.resolution.overload` | section | `null` |",
        "| `vision.service.chunk_bytes` | integer | `1048576` |",
        "| `api_key_file` | path | `null` |",
    ],
)
def test_kinds_and_defaults_are_in_plain_words(written: str, row: str) -> None:
    assert row in written


def test_a_section_that_extends_another_has_its_sentences_too() -> None:
    said = explained(LanguagePlacementConfig)
    assert said["replicas"] == "How many."
    assert said["tensor_parallel_size"].startswith("Ranks that hold one replica's model together")


def test_a_sentence_may_have_several_lines_and_a_key_may_have_none() -> None:
    class Bare(BaseModel):
        """A section.

        Attributes:
            told: First line
                and second.
        """

        told: Literal["a"] = "a"
        untold: int = 0

    assert explained(Bare) == {"told": "First line and second."}
