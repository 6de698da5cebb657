"""Compares a document with a JSON schema, and tells all that differs.

Custom resources come with schemas that let unknown fields pass, because the API server drops them.
Here such a field is a slip of the pen, so schemas are closed first.
"""

from collections.abc import Iterable
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

OPEN = "x-kubernetes-preserve-unknown-fields"


def violations(document: object, schema: dict[str, Any]) -> list[str]:
    """Every difference, as `path: what is wrong`."""
    return told(Draft202012Validator(schema).iter_errors(document))


def told(errors: Iterable[ValidationError]) -> list[str]:
    """Differences as a person is told them."""
    return [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, in which objects have no fields but those that it names."""
    changed = dict(schema)
    if "properties" in schema:
        changed["properties"] = {name: closed(each) for name, each in schema["properties"].items()}
        if not schema.get(OPEN):
            changed.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            changed[key] = closed(schema[key])
    return changed
