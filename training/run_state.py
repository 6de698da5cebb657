"""Where a run stands, kept on disk: weights, optimizers, losses. A run that was cut off goes on.

One safetensors file, replaced as a whole: a reader finds the old state or the new one.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from training.optimizer import TwoOptimizers

LOSSES = "losses"


class RunState:
    """The state of one run in one file."""

    def __init__(self, file: Path, trained: Mapping[str, nn.Module]) -> None:
        """Name what is kept.

        Args:
            file: Its folder is made when the state is first saved.
            trained: Modules by the prefix of their tensors.
        """
        self._file = file
        self._trained = trained

    def load(self, optimizers: TwoOptimizers) -> list[float]:
        """Restore everything; returns the losses so far, none where nothing was saved."""
        if not self._file.is_file():
            return []
        with safe_open(self._file, "pt") as kept:
            tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
            losses: list[float] = json.loads(kept.metadata()[LOSSES])
        for prefix, module in self._trained.items():
            module.load_state_dict(_below(prefix, tensors))
        optimizers.load_tensors(_below("optimizers", tensors))
        return losses

    def save(self, optimizers: TwoOptimizers, losses: list[float]) -> None:
        """Write everything."""
        tensors = {
            f"{prefix}.{name}": tensor
            for prefix, module in self._trained.items()
            for name, tensor in module.state_dict().items()
        }
        tensors |= {f"optimizers.{name}": each for name, each in optimizers.tensors().items()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, fresh, {LOSSES: json.dumps(losses)})
        fresh.replace(self._file)

    def remove(self) -> None:
        """Forget the state of a run that is complete."""
        self._file.unlink(missing_ok=True)


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start = f"{prefix}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }
