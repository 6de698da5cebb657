"""`docs/operations.md`, followed from its first command to its last, as a second person would.

In namespaces of its own for processes, network and temporary files: the ports are those that the
document names, and the processes that it kills are its own.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.manifests.command_line import command_mistakes, commands_of
from tests.end_to_end.documented_commands import blocks

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs/operations.md"
MADE = ROOT / "build/operations"
SANDBOX = [
    "unshare", "--user", "--map-root-user", "--net", "--pid", "--mount", "--fork", "--mount-proc",
]  # fmt: skip
# The guard is for what follows: commands that kill by name must find nobody else's processes.
PREPARE = """
set -euo pipefail
test $$ = 1
mount -t tmpfs tmpfs /tmp
ip link set lo up
"""


def is_isolated() -> bool:
    """Whether this machine lets us have namespaces of our own."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    trial = [*SANDBOX, "bash", "-c", PREPARE]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_every_command_works_from_nothing_to_an_upgraded_cluster() -> None:
    if not is_isolated():
        pytest.skip("this machine gives no namespaces, and the commands kill processes by name")
    shutil.rmtree(MADE, ignore_errors=True)
    # Each block is told when it begins, so that a failure names its place.
    told = [
        f"echo '=== block {number}'\n{block.text}"
        for number, block in enumerate(blocks(OPERATIONS, "bash"))
    ]
    script = PREPARE + "\n".join(told) + "\necho '=== end'\n"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ran = subprocess.run(
        [*SANDBOX, "bash", "-c", script],
        capture_output=True, text=True, check=False, cwd=ROOT, env=environ,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert ran.stdout.endswith("=== end\n")
    assert len(re.findall(r"^TOWN$", ran.stdout, re.MULTILINE)) == 4
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
