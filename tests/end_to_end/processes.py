"""Processes that have come from this one, by what they call themselves; Linux alone."""

import os
from pathlib import Path

PROCESSES = Path("/proc")


def descendants(title: str) -> list[int]:
    """Ids of our descendants whose command line begins with a title, in order."""
    ids = sorted(int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit())
    return [each for each in ids if _title(each).startswith(title) and _is_ours(each)]


def _title(process: int) -> str:
    try:
        return (PROCESSES / str(process) / "cmdline").read_text()
    except OSError:  # it has ended
        return ""


def _is_ours(process: int) -> bool:
    while process > 1:
        if process == os.getpid():
            return True
        try:
            status = (PROCESSES / str(process) / "status").read_text()
        except OSError:
            return False
        (parent,) = [line for line in status.splitlines() if line.startswith("PPid:")]
        process = int(parent.split()[1])
    return False
