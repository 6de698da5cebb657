"""Training is deterministic: its first steps give the losses that are shipped with the model."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from common.result import machine
from training.pretrain import train_eyes
from training.stage import StageFolders
from training.train import SHIPPED, SHIPPED_LOSSES

RECORD = Path(__file__).parents[2] / "models" / SHIPPED / SHIPPED_LOSSES
NUM_STEPS = 300


@dataclass(frozen=True, slots=True)
class Record:
    """How the shipped model was trained, and the losses of its first stage."""

    machine: str
    num_threads: int
    device: str
    eyes: list[float]

    @classmethod
    def read(cls, file: Path) -> "Record":
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return cls(told["machine"], told["num_threads"], told["device"], told["losses"]["eyes"])

    def elsewhere(self, here: str) -> str | None:
        """Why another machine may compute other losses; None on one of the same kind."""
        if self.device != "cpu":
            return f"the recorded losses were computed on {self.device}"
        processor = self.machine.rpartition(",")[0]
        if processor != here.rpartition(",")[0]:
            return f"the recorded losses were computed on {processor}; this is {here}"
        return None


@pytest.fixture
def record() -> Iterator[Record]:
    if not RECORD.is_file():
        pytest.skip(f"no losses are recorded in {RECORD}")
    found = Record.read(RECORD)
    reason = found.elsewhere(machine())
    if reason is not None:
        pytest.skip(reason)
    before = torch.get_num_threads()
    torch.set_num_threads(found.num_threads)
    yield found
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_steps_give_the_recorded_losses(record: Record, tmp_path: Path) -> None:
    folders = StageFolders(tmp_path / "untrained", tmp_path / "eyes")
    losses = train_eyes(folders, torch.device("cpu"), last_step=NUM_STEPS)
    assert len(losses) == NUM_STEPS
    assert losses == pytest.approx(record.eyes[:NUM_STEPS], abs=1e-3)


@pytest.mark.parametrize(
    ("device", "here", "reason"),
    [
        ("cpu", "Zilog Z80, 1 cores", None),
        ("cpu", "Zilog Z80, 8 cores", None),
        ("cpu", "MOS 6502, 1 cores", "computed on Zilog Z80; this is MOS 6502, 1 cores"),
        ("cuda", "Zilog Z80, 1 cores", "computed on cuda"),
    ],
)
def test_only_the_same_kind_of_device_is_compared(
    device: str, here: str, reason: str | None
) -> None:
    told = Record("Zilog Z80, 1 cores", 2, device, []).elsewhere(here)
    assert told is None if reason is None else told is not None and told.endswith(reason)
