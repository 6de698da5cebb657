"""Every key of the configuration as tables in Markdown, from the classes that read it.

Default, kind and sentence of a key stand in its class (`common/config.py`, `deploy/config.py`), so
that neither the document nor an operator can know another one.
"""

import re
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deploy.config import DeployConfig

INTRODUCTION = """# Settings

Made from `common/config.py` and `deploy/config.py` by `python -m deploy.reference.generate`; change
those.

A key is set in the YAML file of `dvd serve --config`, a level deeper for every dot, or as
`--set KEY=VALUE`. Flags win over the file, and `--set` over both; `dvd serve --print-config` shows
what is in force. A key that there is not is an error.
"""
ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
KINDS = {
    int: "integer",
    float: "number",
    bool: "true, false",
    str: "text",
    Path: "path",
    dict: "map",
}


def settings_reference() -> str:
    """The whole document."""
    return "\n".join([INTRODUCTION, *_section(DeployConfig, "", "The deployment")])


def explained(section: type[BaseModel]) -> dict[str, str]:
    """What the class of a section and those that it extends say of each key."""
    return {
        name: " ".join(text.split())
        for kind in reversed(section.__mro__)
        for name, text in ATTRIBUTE.findall(cleandoc(kind.__doc__ or ""))
        if name in section.model_fields
    }


def _section(section: type[BaseModel], path: str, title: str, says: str = "") -> Iterator[str]:
    """Keys of one section, then the sections within it."""
    fields, said = section.model_fields, explained(section)
    inner = {name: kind for name, field in fields.items() if (kind := _section_of(field))}
    own = {name: field for name, field in fields.items() if name not in inner or not _is_set(field)}
    if own:
        yield from _table(own, said, path, title, says or _summary(section))
    for name, kind in inner.items():
        whole = path + name
        yield from _section(kind, f"{whole}.", f"`{whole}`", said.get(name, ""))


def _table(
    fields: Mapping[str, FieldInfo], said: Mapping[str, str], path: str, title: str, says: str
) -> Iterator[str]:
    yield from (f"## {title}", "", says, "")
    yield "| key | kind | default | what it is |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        yield f"| `{path}{name}` | {_kind(field.annotation)} | {_default(field)} | {said[name]} |"
    yield ""


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a key is; None for a plain value."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _is_set(field: FieldInfo) -> bool:
    return field.get_default(call_default_factory=True) is not None


def _summary(section: type[BaseModel]) -> str:
    return " ".join((section.__doc__ or "").partition("\n\n")[0].split())


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    choices = getattr(annotation, "__members__", None)
    if choices is not None:
        return ", ".join(f"`{choice}`" for choice in choices.values())
    plain = KINDS.get(get_origin(annotation) or annotation)
    if plain is not None:
        return plain
    # Of several kinds, or one with a bound on its values.
    parts = (part for part in get_args(annotation) if part is not NoneType)
    return ", ".join(_kind(part) for part in parts if isinstance(part, type) or get_origin(part))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    written = str(value) if isinstance(value, str) else yaml.safe_dump(value).split("\n")[0]
    return f"`{written}`"
