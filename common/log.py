"""Log lines of every process: time, level, process name, message; as text or as JSON.

What a message says is all that is logged: pictures and prompts are never part of one. Where a line
is about one request it carries `request_id`, by `extra={"request_id": ...}`.
"""

import json
import logging
import sys
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object on one line.

    Args:
        process: Name of this process.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": self._process,
            "message": record.getMessage(),
        }
        request_id = getattr(record, "request_id", None)
        if request_id is not None:
            line["request_id"] = str(request_id)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logging(process: str, level: str = "INFO", json_lines: bool = False) -> None:
    """Send this process's log lines to stderr.

    Args:
        process: Name shown in every line, such as `router` or `vision-0`.
        level: Lowest level shown.
        json_lines: Whether each line is a JSON object.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(process)
        if json_lines
        else logging.Formatter(f"%(asctime)s %(levelname)-7s {process} %(name)s: %(message)s")
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # transformers warns that our model type is not one of its own; we load it ourselves.
    for name in ("transformers", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
