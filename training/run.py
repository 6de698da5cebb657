"""The loop that every stage shares: batches from a worker process, steps, progress, state."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

import torch
from tqdm import tqdm

from training.optimizer import TwoOptimizers, warm_up_then_decay
from training.picture_data import BatchMaker, batches
from training.run_state import RunState

B = TypeVar("B")

REPORT_EVERY = 50
SAVE_EVERY = 250


@dataclass(frozen=True, slots=True)
class Recipe:
    """What fixes a stage.

    Attributes:
        seed: Of its batches.
        muon_rate: Peak learning rate of the matrices.
        adam_rate: Peak learning rate of the rest.
        num_steps: Of the whole stage.
        batch_size: Tiles of a batch of the eyes, pictures of a batch of questions.
    """

    seed: int
    muon_rate: float
    adam_rate: float
    num_steps: int
    batch_size: int


@dataclass(frozen=True, slots=True)
class StepLoss:
    """What one batch says.

    Attributes:
        objective: Scalar to make smaller.
        shown: Scalar to record: the part of the objective that the stage is about.
        details: More to show now and then, by name.
    """

    objective: torch.Tensor
    shown: torch.Tensor
    details: Callable[[], Mapping[str, float]]


class TrainingRun(Generic[B]):
    """One stage, begun or resumed."""

    def __init__(
        self, maker: BatchMaker, recipe: Recipe, optimizers: TwoOptimizers, state: RunState
    ) -> None:
        self._maker = maker
        self._recipe = recipe
        self._optimizers = optimizers
        self._state = state

    def train(
        self, step_loss: Callable[[B], StepLoss], last_step: int | None = None
    ) -> list[float]:
        """Take all steps that are left.

        Args:
            step_loss: Of one batch.
            last_step: Stop before this one and keep the state; None for the recipe's end.

        Returns:
            The losses of all steps, those before a resumption included.
        """
        losses = self._state.load(self._optimizers)
        num_steps = self._recipe.num_steps
        stop = num_steps if last_step is None else last_step
        with tqdm(total=stop, initial=len(losses), mininterval=5.0) as bar:
            for step, batch in self._batches(len(losses), stop):
                told = step_loss(batch)
                self._optimizers.step(told.objective, warm_up_then_decay(step / num_steps))
                losses.append(float(told.shown.detach()))
                bar.update()
                if step % REPORT_EVERY == 0:
                    _show(bar, losses[-1], told.details())
                if (step + 1) % SAVE_EVERY == 0:
                    self._state.save(self._optimizers, losses)
        if stop < num_steps:
            self._state.save(self._optimizers, losses)
        return losses

    def _batches(self, first: int, stop: int) -> Iterator[tuple[int, B]]:
        made = batches(self._maker, self._recipe.seed, first, stop)
        for step, batch in enumerate(made, start=first):
            yield step, cast("B", batch)


def write_losses(losses: Sequence[float], file: Path) -> None:
    """Write the losses of all steps of a stage, whole or not at all: they say it is complete."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps([round(loss, 5) for loss in losses]) + "\n", encoding="utf-8")
    fresh.replace(file)


def _show(bar: "tqdm[object]", loss: float, details: Mapping[str, float]) -> None:
    shown = {name: f"{value:.3f}" for name, value in details.items()}
    bar.set_postfix({"loss": f"{loss:.3f}", **shown})
