"""A run that was cut off and resumed is, bit for bit, the run without a cut."""

import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from training.optimizer import TwoOptimizers, warm_up_then_decay
from training.run import REPORT_EVERY, SAVE_EVERY, Recipe, StepLoss, TrainingRun, write_losses
from training.run_state import RunState

NUM_STEPS = SAVE_EVERY + 10
RECIPE = Recipe(seed=7, muon_rate=0.02, adam_rate=0.01, num_steps=NUM_STEPS, batch_size=8)


class Points:
    """Points in the plane, of which the model should tell the distance from the middle."""

    def __call__(self, source: random.Random, step: int) -> torch.Tensor:  # noqa: ARG002
        return torch.tensor([[source.gauss(), source.gauss()] for _ in range(8)])


class Cut(Exception):  # noqa: N818
    """The power goes."""


class Toy:
    """A small net in training, with matrices for one optimizer and the rest for the other."""

    def __init__(self, directory: Path, recipe: Recipe = RECIPE) -> None:
        source = torch.Generator().manual_seed(3)
        self.net = nn.ModuleDict({"mlp1": nn.Linear(2, 16), "head": nn.Linear(16, 1)})
        for parameter in self.net.parameters():
            nn.init.normal_(parameter, std=0.3, generator=source)
        optimizers = TwoOptimizers(self.net.named_parameters(), recipe.muon_rate, recipe.adam_rate)
        state = RunState(directory / "state.safetensors", {"net": self.net})
        self.run = TrainingRun[torch.Tensor](Points(), recipe, optimizers, state)
        self.cut_before: int | None = None
        self.seen: list[torch.Tensor] = []
        self.num_shown = 0

    def loss(self, batch: torch.Tensor) -> StepLoss:
        if len(self.seen) == self.cut_before:
            raise Cut
        self.seen.append(batch)
        told = self.net["head"](self.net["mlp1"](batch).relu())[:, 0]
        error = (told - batch.norm(dim=1)).square().mean()
        return StepLoss(objective=error, shown=error + 1, details=self.details)

    def details(self) -> Mapping[str, float]:
        self.num_shown += 1
        return {"all": 0.5}

    def weights(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.net.parameters()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], list[torch.Tensor]]:
    """Losses and weights of the run without a cut."""
    toy = Toy(tmp_path_factory.mktemp("whole"))
    return toy.run.train(toy.loss), toy.weights()


Whole = tuple[list[float], list[torch.Tensor]]


def same(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_run_learns(whole: Whole) -> None:
    losses, _ = whole
    assert len(losses) == NUM_STEPS
    assert sum(losses[-10:]) / 10 - 1 < 0.2 * (sum(losses[:10]) / 10 - 1)


def test_a_run_cut_off_goes_on_from_its_last_state(tmp_path: Path, whole: Whole) -> None:
    cut = Toy(tmp_path)
    cut.cut_before = SAVE_EVERY + 4
    with pytest.raises(Cut):
        cut.run.train(cut.loss)
    resumed = Toy(tmp_path)
    losses = resumed.run.train(resumed.loss)
    assert losses == whole[0]
    assert same(resumed.weights(), whole[1])
    assert len(resumed.seen) == NUM_STEPS - SAVE_EVERY


def test_a_run_stopped_early_goes_on_from_there(tmp_path: Path, whole: Whole) -> None:
    stopped = Toy(tmp_path)
    assert stopped.run.train(stopped.loss, last_step=5) == whole[0][:5]
    resumed = Toy(tmp_path)
    assert resumed.run.train(resumed.loss, last_step=9) == whole[0][:9]
    assert len(resumed.seen) == 4
    again = Toy(tmp_path)
    assert again.run.train(again.loss) == whole[0]
    assert same(again.weights(), whole[1])


def test_a_run_without_a_state_begins_anew(tmp_path: Path, whole: Whole) -> None:
    cut = Toy(tmp_path)
    cut.cut_before = 6
    with pytest.raises(Cut):
        cut.run.train(cut.loss)
    resumed = Toy(tmp_path)
    assert resumed.run.train(resumed.loss, last_step=8) == whole[0][:8]


def test_the_objective_falls_and_what_is_shown_is_recorded(tmp_path: Path) -> None:
    """Steps by hand, with the same schedule."""
    toy, hand = Toy(tmp_path), Toy(tmp_path / "hand")
    optimizers = TwoOptimizers(hand.net.named_parameters(), RECIPE.muon_rate, RECIPE.adam_rate)
    losses = toy.run.train(toy.loss, last_step=4)
    for step, batch in enumerate(toy.seen):
        told = hand.loss(batch)
        assert float(told.shown.detach()) == losses[step]
        optimizers.step(told.objective, warm_up_then_decay(step / NUM_STEPS))
    assert same(toy.weights(), hand.weights())


def test_details_are_asked_for_now_and_then(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    toy.run.train(toy.loss, last_step=REPORT_EVERY + 1)
    assert toy.num_shown == 2


def test_losses_are_written_whole(tmp_path: Path) -> None:
    write_losses([1 / 3, 2.0], tmp_path / "losses.json")
    assert json.loads((tmp_path / "losses.json").read_text()) == [0.33333, 2.0]
    assert [path.name for path in tmp_path.iterdir()] == ["losses.json"]
