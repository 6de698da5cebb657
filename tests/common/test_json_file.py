"""Reading strictly: what is no object, and what says two things."""

from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import CheckpointError
from common.json_file import DuplicateKeyError, parse_json, read_json


def test_an_object_is_read_and_a_missing_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"ä": [1, {"b": null}]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"ä": [1, {"b": None}]}
    assert read_json(tmp_path / "b.json") is None


@pytest.mark.parametrize("document", ['{"a": 1, "b": 2, "a": 1}', '{"b": [{"a": 1, "a": 2}]}'])
def test_a_key_that_is_there_twice_is_named(tmp_path: Path, document: str) -> None:
    with pytest.raises(DuplicateKeyError) as twice:
        parse_json(document.encode())
    assert twice.value.key == "a"
    (tmp_path / "config.json").write_text(document)
    with pytest.raises(CheckpointError, match=r"config\.json has the key a twice"):
        read_json(tmp_path / "config.json")


NOT_OBJECTS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "list": lambda: b"[]",
    "cut": lambda: b'{"a": ',
    "binary": lambda: bytes(range(128, 256)),
    "deep": lambda: b"[" * 100_000,
}


@pytest.mark.parametrize("content", NOT_OBJECTS)
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(NOT_OBJECTS[content]())
    with pytest.raises(CheckpointError):
        read_json(path)
