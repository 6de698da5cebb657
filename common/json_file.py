"""JSON objects of a checkpoint, read strictly: a key that is there twice says two things."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import CheckpointError

Json = Mapping[str, Any]


class DuplicateKeyError(ValueError):
    """A JSON object names a key twice; readers differ in which of the two they take."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key} is there twice")
        self.key = key


def read_json(path: Path) -> Json | None:
    """Read a JSON object; None where there is no such file.

    Raises:
        CheckpointError: The file is not a JSON object, or has a key twice.
    """
    if not path.is_file():
        return None
    try:
        document = parse_json(path.read_bytes())
    except DuplicateKeyError as cause:
        raise CheckpointError(f"{path} has the key {cause.key} twice.") from cause
    except (ValueError, RecursionError) as cause:
        raise CheckpointError(f"{path} is not valid JSON.") from cause
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} is not a JSON object.")
    return document


def parse_json(content: bytes) -> Any:
    """Parse UTF-8 JSON of any kind.

    Raises:
        DuplicateKeyError: An object in it has a key twice.
        ValueError: It is no JSON.
        RecursionError: It is nested without end.
    """
    return json.loads(content.decode("utf-8"), object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise DuplicateKeyError(key)
        document[key] = value
    return document
