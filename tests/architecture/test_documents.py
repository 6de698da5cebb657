"""What README and docs name is there: files, headings, targets, commands, flags, keys, panels.

`docs/coming_from.md` names much that others have; `tests/deploy/test_coming_from.py` reads it.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from common.errors import ConfigError
from deploy.cli import app
from deploy.config import load_config
from deploy.manifests.command_line import command_mistakes, commands_of, flags_of
from deploy.reference.settings import settings_reference
from tests.end_to_end.documented_commands import blocks

ROOT = Path(__file__).parents[2]
PLACES = ("", "docs/", "examples/", "models/*/", "deploy/kubernetes/schemas/")
DOCUMENTS = sorted(
    str(file.relative_to(ROOT)) for place in PLACES for file in ROOT.glob(f"{place}*.md")
)
OURS = [name for name in DOCUMENTS if name != "docs/coming_from.md"]
# Where a file that is named without its folder may be.
PACKAGES = ("common", "router", "vision_service", "language_service", "deploy", "training")
FOLDERS = (*PACKAGES, "protos", "tests")
FILE_NAMES = {file.name for folder in FOLDERS for file in (ROOT / folder).rglob("*.*")}
COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
# Of every command, and of `ray start`.
FLAGS = set().union(*map(flags_of, COMMANDS)) | {"--help", "--num-cpus", "--labels"}
KEYS = set(re.findall(r"^\| `([\w.]+)` ", settings_reference(), re.MULTILINE))
SECTIONS = {key.rpartition(".")[0] for key in KEYS} | {"vision", "language", "router"}
TARGETS = set(
    re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose_of(name: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(name), flags=re.MULTILINE | re.DOTALL)


def spans_of(name: str) -> list[str]:
    """Everything that a document sets as code within a line."""
    return re.findall(r"`([^`]+)`", re.sub(r"\s+", " ", prose_of(name)))


def anchors_of(name: str) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", text_of(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(name)):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors_of(str(file.resolve().relative_to(ROOT))), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_is_named_is_there(name: str) -> None:
    named = {span for span in spans_of(name) if re.fullmatch(r"[\w/.-]+\.(py|proto|md)", span)}
    assert [span for span in named if not is_there(span, ROOT / name)] == []


def is_there(span: str, document: Path) -> bool:
    """Whether a file is in the repository, beside the document, or somewhere by this bare name."""
    return (
        (ROOT / span).exists()
        or (document.parent / span).exists()
        or ("/" not in span and span in FILE_NAMES)
    )


@pytest.mark.parametrize("name", OURS)
def test_every_target_and_module_is_there(name: str) -> None:
    code = [*spans_of(name), *(block.text for block in blocks(ROOT / name, "", "bash", "console"))]
    for text in code:
        assert set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= TARGETS
        for module in re.findall(r"python -m ([\w.]+)", text):
            assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


@pytest.mark.parametrize("name", OURS)
def test_every_flag_is_one_of_dvd(name: str) -> None:
    for span in spans_of(name):
        words = span.split()
        if words[0] == "dvd" and words[1:] and words[1] in COMMANDS:
            assert set(flags_in(words)) <= flags_of(words[1]) | {"--help"}, span
        elif words[0].startswith("--"):
            assert set(flags_in(words)) <= FLAGS, span


@pytest.mark.parametrize("name", OURS)
def test_every_flag_of_a_module_is_one_of_it(name: str) -> None:
    code = [*spans_of(name), *(block.text for block in blocks(ROOT / name, "", "bash", "console"))]
    for text in code:
        for module, rest in re.findall(r"python -m ([\w.]+)(.*)", text.replace("\\\n", " ")):
            source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
            flags = set(re.findall(r'"(--[a-z-]+)"', source))
            assert set(flags_in(rest.split())) <= flags, text


def flags_in(words: list[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)]


@pytest.mark.parametrize("name", OURS)
def test_every_command_of_a_block_can_be_typed(name: str) -> None:
    for block in blocks(ROOT / name, ""):
        lines = block.text.replace("\\\n", " ").splitlines()
        typed = "\n".join(line for line in lines if line.startswith(".venv/bin/dvd"))
        for words in commands_of(typed):
            assert command_mistakes(words) == []


@pytest.mark.parametrize("name", OURS)
def test_every_key_is_one_of_the_configuration(name: str) -> None:
    dotted = r"(?:vision|language|router|ray|log)\.[a-z_.]+"
    for span in spans_of(name):
        key, colon, value = span.partition(":")
        key = key.partition("=")[0]
        if re.fullmatch(dotted, key) and not key.endswith((".py", ".proto")):
            assert key in KEYS | SECTIONS, key
            if colon and value.strip():
                load_config(None, {key: value.strip()})


def test_a_key_that_there_is_not_would_be_found() -> None:
    with pytest.raises(ConfigError):
        load_config(None, {"router.max_images": 1})


def panels_of(board: dict[str, Any]) -> set[str]:
    own = {panel["title"] for panel in board.get("panels", ())}
    return own.union(*(panels_of(panel) for panel in board.get("panels", ())))


def test_every_panel_of_the_runbook_is_on_its_dashboard() -> None:
    files = (ROOT / "deploy/grafana/dashboards").glob("*.json")
    boards = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    panels = {board["title"].removeprefix("DvD / "): panels_of(board) for board in boards}
    text = re.sub(r"\s+", " ", text_of("docs/runbook.md") + text_of("docs/operations.md"))
    named = re.findall(r"\*([A-Z][\w ]+) / ([^*]+)\*", text)
    assert len(named) > 15
    assert [pair for pair in named if pair[1] not in panels[pair[0]]] == []
