"""Checks a Dockerfile: hadolint, and what hadolint cannot know of this project."""

import json
import re
import subprocess
import sys
from pathlib import Path

from deploy.manifests.finding import Finding
from deploy.manifests.image_name import is_pinned

HADOLINT = Path(sys.executable).with_name("hadolint")
INSTRUCTION = re.compile(r"^(?P<word>[A-Z]+)\s+(?P<rest>.*)$", re.MULTILINE)
ROOT_USERS = ("0", "root")


def check_dockerfile(root: Path, file: str) -> list[Finding]:
    """Check one Dockerfile.

    Args:
        root: The repository, which is its build context.
        file: Its path from there.
    """
    text = (root / file).read_text(encoding="utf-8")
    last_stage = _instructions(text[text.rindex("\nFROM ") :])
    messages = [
        *_linted(root / file),
        *_user(last_stage),
        *_bases(_instructions(text)),
        *_copied(root, _instructions(text)),
    ]
    if not any(word == "HEALTHCHECK" for word, _ in last_stage):
        messages.append("the image has no HEALTHCHECK")
    return [Finding(file, message) for message in messages]


def _linted(file: Path) -> list[str]:
    command = [str(HADOLINT), "--no-fail", "--format", "json", str(file)]
    ran = subprocess.run(command, capture_output=True, check=True)  # noqa: S603  # our own file
    return [f"line {row['line']}: {row['code']} {row['message']}" for row in json.loads(ran.stdout)]


def _instructions(text: str) -> list[tuple[str, str]]:
    joined = text.replace("\\\n", " ")
    return [(match["word"], match["rest"]) for match in INSTRUCTION.finditer(joined)]


def _user(stage: list[tuple[str, str]]) -> list[str]:
    users = [rest.split(":")[0] for word, rest in stage if word == "USER"]
    if not users or users[-1] in ROOT_USERS:
        return ["the image runs as root: its last stage ends without another USER"]
    if not users[-1].isdigit():
        return [f"USER {users[-1]} is a name; Kubernetes knows only of numbers that they are not 0"]
    return []


def _bases(instructions: list[tuple[str, str]]) -> list[str]:
    arguments = dict(rest.partition("=")[::2] for word, rest in instructions if word == "ARG")
    stages = {rest.split()[-1] for word, rest in instructions if word == "FROM"}
    messages = []
    for word, rest in instructions:
        if word == "FROM":
            name = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], rest.split()[0])
            if name not in stages and not is_pinned(name):
                messages.append(f"FROM {name} is not of one version")
    return messages


def _copied(root: Path, instructions: list[tuple[str, str]]) -> list[str]:
    kept = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    messages = []
    for word, rest in instructions:
        if word != "COPY" or rest.startswith("--from="):
            continue
        for source in rest.split()[:-1]:
            if not (root / source).exists():
                messages.append(f"COPY {source}: there is no such file")
            elif f"!{source.split('/')[0]}" not in kept:
                messages.append(f"COPY {source}: .dockerignore leaves it out")
            elif any((root / source).rglob("*.safetensors")):
                messages.append(f"COPY {source} puts weights into the image")
    return messages
