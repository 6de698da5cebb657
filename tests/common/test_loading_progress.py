"""What is told of loading: all bytes, not too often, a bar where somebody looks."""

import io
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from common.checkpoint import load_tensors
from common.loading_progress import BarProgress, LoggedProgress, loading_progress
from common.model_files import list_tensors
from common.tensor_source import TensorSource

GIB = 1 << 30


class Noted:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.total = -1
        self.added: list[int] = []
        self.ended = False

    def begin(self, total_bytes: int) -> None:
        self.total = total_bytes

    def add(self, num_bytes: int) -> None:
        self.added.append(num_bytes)

    def end(self) -> None:
        self.ended = True


def test_every_byte_is_told_once_and_the_total_before(tmp_path: Path) -> None:
    tensors = {"fused": torch.ones(6, 4), "bias": torch.ones(2, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "model.safetensors")
    with torch.device("meta"):
        module = nn.Linear(4, 2)
    sources = {"weight": TensorSource("fused", part=1, num_parts=3), "bias": TensorSource("bias")}
    noted = Noted()
    read = load_tensors(
        module, list_tensors(tmp_path), sources, torch.float32, torch.device("cpu"), noted
    )
    assert noted.total == sum(noted.added) == read == 2 * 4 * 4 + 2 * 2
    assert len(noted.added) == 2
    assert noted.ended


def test_the_log_has_a_line_every_few_seconds_and_one_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seconds = [0.0]
    progress = LoggedProgress("language-0", lambda: seconds[0])
    with caplog.at_level(logging.INFO, logger="common.loading_progress"):
        progress.begin(8 * GIB)
        for _ in range(8):
            seconds[0] += 2.0
            progress.add(GIB)
        progress.end()
    assert caplog.messages == [
        "language-0: 37 % of weights, 3.0 of 8.0 GiB",
        "language-0: 75 % of weights, 6.0 of 8.0 GiB",
        "language-0: read 8.0 GiB of weights in 16.0 seconds",
    ]


class Terminal(io.StringIO):
    """Where somebody looks."""

    def isatty(self) -> bool:
        return True


def test_a_bar_names_the_replica_and_reaches_the_end() -> None:
    terminal = Terminal()
    progress = BarProgress("vision-1", terminal)
    progress.begin(4 * GIB)
    progress.add(3 * GIB)
    progress.add(GIB)
    progress.end()
    shown = terminal.getvalue()
    assert "vision-1: 100%" in shown
    assert "4.00G/4.00G" in shown


def test_a_terminal_gets_the_bar_and_a_file_the_lines() -> None:
    assert isinstance(loading_progress("a", lambda: 0.0, Terminal()), BarProgress)
    assert isinstance(loading_progress("a", lambda: 0.0, io.StringIO()), LoggedProgress)
