"""What the commands of all training stages share: folders, device, threads."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

STATE_FILE = "state.safetensors"
LOSSES_FILE = "losses.json"


@dataclass(frozen=True, slots=True)
class StageFolders:
    """Where one stage reads and writes.

    Attributes:
        start: Checkpoint of the stage before.
        out: Checkpoint that the stage leaves; while it runs, its state.
    """

    start: Path
    out: Path

    @property
    def is_complete(self) -> bool:
        """Whether the stage has run to its end."""
        return (self.out / LOSSES_FILE).is_file()


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where to start, where to write, and how to compute."""
    parser.add_argument("out", type=Path, help="folder of the result; a run goes on from its state")
    parser.add_argument("--start", type=Path, help="checkpoint of the stage before")
    parser.add_argument("--steps", type=int, help="another number of steps than the recipe's")
    add_device_arguments(parser)


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how to compute."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="of torch on the CPU")


def set_up(arguments: argparse.Namespace) -> torch.device:
    """Set the number of threads; returns the device."""
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    return torch.device(arguments.device)
