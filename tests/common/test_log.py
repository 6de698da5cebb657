"""Log lines, as an operator and as a machine reads them."""

import json
import logging
from collections.abc import Iterator

import pytest

from common.log import set_up_logging

log = logging.getLogger("router.pipeline")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The handlers of the test run again."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_text_names_process_and_logger(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("router")
    log.warning("%s leaves", "r1")
    log.debug("hidden")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING router router.pipeline: r1 leaves")


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("vision-0", json_lines=True)
    log.warning("two\nlines", extra={"request_id": "r1"})
    log.info("%d tiles", 3)
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.pop("ts").endswith("+00:00")
    assert first == {
        "level": "WARNING",
        "logger": "router.pipeline",
        "process": "vision-0",
        "message": "two\nlines",
        "request_id": "r1",
    }
    assert second["message"] == "3 tiles"
    assert "request_id" not in second


def test_json_carries_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("router", "ERROR", json_lines=True)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        log.exception("unexpected")
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert "ZeroDivisionError" in line["exception"]
