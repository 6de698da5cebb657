"""Where the key of the public doors comes from: a file or the environment, never an argument.

Arguments and configurations are shown to others, by `ps` and by `--print-config`; neither ever
holds the key itself.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from common.errors import ConfigError

VARIABLE = "DVD_API_KEY"


def find_api_key(
    flag: Path | None, configured: Path | None = None, environ: Mapping[str, str] = os.environ
) -> str:
    """Find the key: the command line wins over the environment, and that over the configuration.

    Args:
        flag: File that the command line names.
        configured: File that the configuration names.
        environ: The environment.

    Returns:
        The key; empty for none.

    Raises:
        ConfigError: A file cannot be read, or what is found can be no key.
    """
    if flag is not None:
        return _read(flag)
    if VARIABLE in environ:
        return _checked(environ[VARIABLE], VARIABLE)
    return "" if configured is None else _read(configured)


def _read(file: Path) -> str:
    try:
        return _checked(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(f"Cannot read the API key in {file}.") from cause


def _checked(text: str, where: str) -> str:
    key = text.strip()
    if not key or not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(f"{where} must hold one API key: printable ASCII without spaces.")
    return key
