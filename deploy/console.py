"""What every command shares: where it writes, how it ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import typer
from rich.console import Console

from common.errors import ConfigError, DvdError

USAGE_ERROR = 2
RUNTIME_ERROR = 1

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command to its end; an error becomes one sentence and an exit code."""
    try:
        asyncio.run(work)
    except ConfigError as error:
        show_error(error)
        raise typer.Exit(USAGE_ERROR) from error
    except DvdError as error:
        show_error(error)
        raise typer.Exit(RUNTIME_ERROR) from error


def show_error(error: DvdError) -> None:
    """Show an error as it is, because names in it may look like rich's markup."""
    errors.print(error.message, style="red", markup=False, emoji=False, soft_wrap=True)
