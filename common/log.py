"""Log lines of every process: time, level, process name, message."""

import logging
import sys


def set_up_logging(process: str, level: str = "INFO") -> None:
    """Send this process's log lines to stderr.

    Args:
        process: Name shown in every line, such as `router` or `vision-0`.
        level: Lowest level shown.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=level,
        format=f"%(asctime)s %(levelname)-7s {process} %(name)s: %(message)s",
        force=True,
    )
    # transformers warns that our model type is not one of its own; we load it ourselves.
    for name in ("transformers", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
