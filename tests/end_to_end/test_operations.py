"""`docs/operations.md`, followed from its first command to its last, as a second person would.

In namespaces of its own for processes, network and temporary files: the ports are those that the
document names, and the processes that it kills are its own.
"""

import re
import shutil
from pathlib import Path

import pytest

from deploy.manifests.command_line import command_mistakes, commands_of
from tests.end_to_end.documented_commands import blocks
from tests.sandbox import run_isolated

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs/operations.md"
MADE = ROOT / "build/operations"


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_every_command_works_from_nothing_to_an_upgraded_cluster() -> None:
    shutil.rmtree(MADE, ignore_errors=True)
    # Each block is told when it begins, so that a failure names its place.
    told = [
        f"echo '=== block {number}'\n{block.text}"
        for number, block in enumerate(blocks(OPERATIONS, "bash"))
    ]
    ran = run_isolated("\n".join(told) + "\necho '=== end'\n", ROOT)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert ran.stdout.endswith("=== end\n")
    assert len(re.findall(r"^TOWN$", ran.stdout, re.MULTILINE)) == 4
    # Nothing was left behind by the roll and the restarts.
    removed = re.findall(r"^removed (\w+)/", ran.stdout, re.MULTILINE)
    assert removed == ["language", "language", "vision", "vision"]
    assert "Traceback" not in (MADE / "serve.log").read_text()


@pytest.mark.parametrize("language", ["bash", "console"])
def test_every_command_has_flags_and_keys_that_there_are(language: str) -> None:
    commands = [each for block in blocks(OPERATIONS, language) for each in commands_of(block.text)]
    assert len(commands) > 10
    assert [mistake for words in commands for mistake in command_mistakes(words)] == []


def test_every_file_that_is_named_is_there() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/])((?:deploy|docs|tests|examples|models)/[\w./-]*\w)", text))
    # Made on the way.
    named -= {"deploy/docker/api-key"}
    assert len(named) > 10
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
