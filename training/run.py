"""The loop that every stage shares: batches from worker processes, progress, recorded losses."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

import torch
from tqdm import tqdm

from training.picture_data import BatchMaker, batches

B = TypeVar("B")

REPORT_EVERY = 50


@dataclass(frozen=True, slots=True)
class Recipe:
    """What fixes a stage.

    Attributes:
        seed: Of its batches.
        muon_rate: Peak learning rate of the matrices.
        adam_rate: Peak learning rate of the rest.
    """

    seed: int
    muon_rate: float
    adam_rate: float


class TrainingRun(Generic[B]):
    """One stage under way."""

    def __init__(self, maker: BatchMaker, recipe: Recipe, num_steps: int) -> None:
        self._maker = maker
        self._recipe = recipe
        self._num_steps = num_steps
        self._bar: tqdm[object] | None = None
        self.losses: list[float] = []

    def steps(self) -> Iterator[tuple[int, B]]:
        """Every step with its batch."""
        made = batches(self._maker, self._recipe.seed, 0, self._num_steps)
        with tqdm(total=self._num_steps, mininterval=5.0) as bar:
            self._bar = bar
            for step, batch in enumerate(made):
                yield step, cast("B", batch)
                bar.update()

    def progress(self, step: int) -> float:
        """Share of the run that is done, 0 to 1."""
        return step / self._num_steps

    def record(self, step: int, loss: torch.Tensor) -> bool:
        """Record a step's loss; whether it is time to show details too."""
        self.losses.append(float(loss.detach()))
        return step % REPORT_EVERY == 0

    def show(self, details: Mapping[str, float]) -> None:
        """Show the latest loss and some details on the progress bar."""
        shown = {name: f"{value:.3f}" for name, value in details.items()}
        if self._bar is not None:
            self._bar.set_postfix({"loss": f"{self.losses[-1]:.3f}", **shown})


def write_losses(losses: Sequence[float], file: Path) -> None:
    """Write the losses of all steps of a stage."""
    file.write_text(json.dumps([round(loss, 5) for loss in losses]) + "\n", encoding="utf-8")
