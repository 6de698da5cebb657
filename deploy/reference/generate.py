"""Writes the references: `docs/api.md` and `docs/settings.md`.

    python -m deploy.reference.generate

Comments of the protos, and of the classes of the configuration, are their only source, so that a
reader of either finds the same. Tests compare them with what this would write.
"""

from collections.abc import Iterator
from pathlib import Path

from common import errors
from common.errors import DvdError, StartupError
from deploy.reference.comments import read_protos
from deploy.reference.markdown import file_lines
from deploy.reference.settings import settings_reference

ROOT = Path(__file__).resolve().parents[2]
API_FILE = ROOT / "docs/api.md"
SETTINGS_FILE = ROOT / "docs/settings.md"
# The public door first, then what a request meets on its way.
ORDER = ("inference", "vision", "language", "embedding", "replica", "supervisor")
TITLES = {
    "inference": "The public door",
    "vision": "Vision replicas",
    "language": "Language replicas",
    "embedding": "The embedding stream",
    "replica": "Replicas and roster",
    "supervisor": "The supervisor",
}
INTRODUCTION = """# API

Made from `protos/dvd/v1/` and `common/errors.py` by `python -m deploy.reference.generate`; change
those.

A client needs the first section and the last; the others are what the processes say to each other.
The OpenAI-compatible HTTP door is in the [README](../README.md#clients).
"""
ERRORS = """## Errors

A gRPC status carries `google.rpc.ErrorInfo` with the class as its reason and the domain `dvd`;
`BadRequest` names the field at fault, `RetryInfo` the delay after a refusal.

| reason | gRPC | HTTP | meaning |
|---|---|---|---|
"""


def api_reference(root: Path) -> str:
    """The whole document of the protos and errors.

    Args:
        root: The repository.
    """
    by_name = {Path(file.proto.name).stem: file for file in read_protos(root)}
    lines = [INTRODUCTION]
    for name in (*ORDER, *sorted(set(by_name) - set(ORDER))):
        lines += [f"## {TITLES.get(name, name)}", "", f"`protos/dvd/v1/{name}.proto`", ""]
        lines += file_lines(by_name[name])
    return "\n".join([*lines, ERRORS]) + "".join(f"{row}\n" for row in _errors())


def _errors() -> Iterator[str]:
    for kind in vars(errors).values():
        is_told = isinstance(kind, type) and issubclass(kind, DvdError)
        if is_told and not issubclass(kind, StartupError):
            meaning = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
            code = f"`{kind.code.name}` | {kind.http_status}"
            yield f"| `{kind.__name__}` | {code} | {meaning} |"


def main() -> None:
    """Write the documents."""
    API_FILE.write_text(api_reference(ROOT), encoding="utf-8")
    SETTINGS_FILE.write_text(settings_reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
