"""Checks `dvd` and `ray` commands, as manifests and documents hold them, without running them."""

import contextlib
import io
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import typer.main

# Typer has a click of its own, and Ray that of everybody.
from typer._click.exceptions import ClickException as TyperError

from common.errors import ConfigError
from deploy.cli import app
from deploy.config import load_config, parse_assignment

SHELL = ("&", "&&", "|", ">", ">>", "2>&1", "<")
BEFORE = ("exec", "nohup", "until", "while", "if", "!")
ASSIGNED = re.compile(r"^--set=(.*)$")


def command_mistakes(words: Sequence[str]) -> list[str]:
    """What is wrong with one command: an unknown command, flag or key of the configuration.

    Args:
        words: The command, its own name first; one that is neither of `dvd` nor of `ray` passes.
    """
    name = Path(words[0]).name
    if name not in ("dvd", "ray"):
        return []
    shown = shlex.join(words)
    try:
        _parse(_ray() if name == "ray" else typer.main.get_command(app), words[1:])
        for key, value in _assignments(words):
            load_config(None, {key: value})
    except (click.ClickException, TyperError) as error:
        return [f"{shown}: {error.format_message()}"]
    except ConfigError as error:
        return [f"{shown}: {error.message}"]
    return []


def flags_of(command: str) -> set[str]:
    """Every flag of one command of `dvd`."""
    group: Any = typer.main.get_command(app)
    parameters = group.get_command(group.context_class(group), command).params
    return {flag for each in parameters for flag in each.opts if flag.startswith("--")}


def commands_of(script: str) -> list[list[str]]:
    """The simple commands of a shell script, a line each, without what only the shell sees."""
    joined = script.replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in joined.splitlines()]
    return [_without_shell(words) for words in lines if _without_shell(words)]


def _without_shell(words: list[str]) -> list[str]:
    while words and (words[0] in BEFORE or re.match(r"^[A-Z_]+=", words[0])):
        words = words[1:]
    if words[:1] == ["kubectl"] and "--" in words:
        words = words[words.index("--") + 1 :]
    for index, word in enumerate(words):
        if word in SHELL:
            return words[:index]
        if word.endswith(";"):
            return [*words[:index], word[:-1]]
    return words


def _parse(command: Any, arguments: Sequence[str]) -> None:
    """Parse as the command itself would; `command` is of click or of Typer's own click."""
    name, rest = None, list(arguments)
    while hasattr(command, "resolve_command") and rest:
        context = command.context_class(command)
        name, command, rest = command.resolve_command(context, rest)
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(click.exceptions.Exit, typer.Exit),
    ):
        command.make_context(name, rest)


def _assignments(words: Sequence[str]) -> list[tuple[str, object]]:
    after = [words[index + 1] for index, word in enumerate(words[:-1]) if word == "--set"]
    joined = [match[1] for match in map(ASSIGNED.match, words) if match]
    return [parse_assignment(text) for text in (*after, *joined)]


def _ray() -> click.Command:
    from ray.scripts.scripts import cli  # noqa: PLC0415  # Ray takes a second

    command: click.Command = cli
    return command
