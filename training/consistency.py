"""ViCO stage 1: the model learns to answer from compressed tiles as it did from full ones.

    python -m training.consistency OUT --start QUESTIONS

The loss is the divergence of the answers' distribution from that of a frozen reference, which sees
every tile at full resolution (paper 2508.18265, section 2.3). Its parts, one after another, are in
`training.consistency_parts`.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn import functional

from common.model_config import load_model_config
from training.accuracy import exact_by_kind
from training.batches import Batch, Batcher, PictureQuestions
from training.build_checkpoint import THRESHOLDS
from training.consistency_parts import PARTS, ConsistencyPart, Rates
from training.dense_labels import NOTHING
from training.forward import answer_logits
from training.label_heads import Labels
from training.optimizer import TwoOptimizers
from training.picture_data import QuestionMaker
from training.run import StepLoss, TrainingRun, write_losses
from training.run_state import RunState
from training.stage import LOSSES_FILE, STATE_FILE, StageFolders, add_common_arguments, set_up
from training.tokenizer import train_tokenizer
from training.trainable_model import TrainableModel, mean_weights


@dataclass(frozen=True, slots=True)
class ConsistencyBatch:
    """The same questions packed twice.

    Attributes:
        full: Every tile at full resolution, for the reference.
        mixed: At the drawn rates.
        compressed: The drawn rate of each tile.
        asked: What is in both.
    """

    full: Batch
    mixed: Batch
    compressed: tuple[bool, ...]
    asked: tuple[PictureQuestions, ...]


class ConsistencyMaker:
    """Draws questions about pictures and a rate for every tile."""

    def __init__(self, directory: Path, part: ConsistencyPart) -> None:
        config = load_model_config(directory)
        self._full = config.full_tokens_per_tile
        self._compressed = config.compressed_tokens_per_tile
        self._questions = QuestionMaker(
            directory, part.recipe.batch_size, late_step=0, ask_late=part.ask_about
        )
        self._batcher = Batcher(train_tokenizer())
        self._part = part

    def __call__(self, source: random.Random, step: int) -> ConsistencyBatch:
        """Make one batch."""
        made = self._questions(source, step)
        pictures = [len(cut.pixels) for each in made.asked for cut in each.pictures]
        rates = self._part.draw_rates(pictures, source)
        if self._part.keeps_numbers:
            numbers = shows_number(made.labels)
            rates = [rate and not number for rate, number in zip(rates, numbers, strict=True)]
        mixed = self._batcher.batch(list(made.asked), self._tokens(made.batch, rates), _NO_PIXELS)
        return ConsistencyBatch(made.batch, mixed, tuple(rates), made.asked)

    def _tokens(self, batch: Batch, rates: Rates) -> list[list[int]]:
        remaining = iter(rates)
        return [
            [self._compressed if next(remaining) else self._full for _ in range(num_tiles)]
            for num_tiles in batch.tiles
        ]


_NO_PIXELS = torch.empty(0)


def shows_number(labels: Labels) -> list[bool]:
    """Whether each tile shows a number, by the labels [T, 16] of its visual tokens."""
    seen: list[bool] = (labels["digit_0"] != NOTHING).any(dim=1).tolist()
    return seen


def divergence(reference: torch.Tensor, policy: torch.Tensor) -> torch.Tensor:
    """Mean over tokens of KL(reference || policy).

    Args:
        reference: Logits [n, vocabulary] of the frozen model.
        policy: Logits [n, vocabulary] of the model that learns.
    """
    return functional.kl_div(
        functional.log_softmax(policy, dim=-1),
        functional.log_softmax(reference, dim=-1),
        reduction="batchmean",
        log_target=True,
    )


class ConsistencyLoss:
    """How far a model's answers at the drawn rates are from the reference's at full resolution."""

    def __init__(self, reference: TrainableModel, model: TrainableModel) -> None:
        self._reference = reference
        self._model = model

    def __call__(self, made: ConsistencyBatch) -> StepLoss:
        """Compare both on one batch."""
        device = self._model.device
        full, mixed = made.full.to(device), made.mixed.to(device)
        with torch.no_grad():
            seen = self._reference.vision.encode(full.pixels)
            wanted = answer_logits(self._reference, full, seen, [False] * len(seen))
        features = self._model.vision.encode(full.pixels)
        logits = answer_logits(self._model, mixed, features, made.compressed)
        loss = divergence(wanted, logits)
        named = logits.detach().argmax(-1)
        return StepLoss(loss, loss, lambda: exact_by_kind(mixed, made.asked, named))


def train_part(
    part: ConsistencyPart, folders: StageFolders, reference_directory: Path, device: torch.device
) -> list[float]:
    """Run one part. Returns the losses of all steps.

    Args:
        part: Which one.
        folders: Where the part before left its checkpoint, and where to write.
        reference_directory: Checkpoint of the frozen reference.
        device: Where to compute.
    """
    reference = TrainableModel(reference_directory, device).requires_grad_(False)
    model = TrainableModel(folders.start, device)
    part.release(model)
    recipe = part.recipe
    optimizers = TwoOptimizers(model.named_parameters(), recipe.muon_rate, recipe.adam_rate)
    state = RunState(folders.out / STATE_FILE, {"model": model})
    maker = ConsistencyMaker(folders.start, part)
    run = TrainingRun[ConsistencyBatch](maker, recipe, optimizers, state)
    losses = run.train(ConsistencyLoss(reference, model))
    model.save(folders.out, "float32", THRESHOLDS)
    write_losses(losses, folders.out / LOSSES_FILE)
    state.remove()
    return losses


def train_consistency(
    folders: StageFolders, device: torch.device, parts: Sequence[ConsistencyPart] = PARTS
) -> Path:
    """Run all parts that are not complete. Returns the last one's checkpoint."""
    last = folders.start
    for part in parts:
        of_part = StageFolders(_start(part, last, folders.out), folders.out / part.name)
        if not of_part.is_complete:
            train_part(part, of_part, folders.start, device)
        last = of_part.out
    return last


def _start(part: ConsistencyPart, last: Path, out: Path) -> Path:
    """The checkpoint that a part starts from; made here where it is the mean of several."""
    starts = [out / name for name in part.starts_from] or [last]
    if len(starts) == 1:
        return starts[0]
    mean = out / f"before-{part.name}"
    if not mean.is_dir():
        mean_weights([TrainableModel(each, torch.device("cpu")) for each in starts]).save(
            mean, "float32", THRESHOLDS
        )
    return mean


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_common_arguments(parser)
    arguments = parser.parse_args()
    device = set_up(arguments)
    if arguments.start is None:
        parser.error("--start is needed: the checkpoint that answers questions")
    parts: Sequence[ConsistencyPart] = PARTS
    if arguments.steps is not None:
        parts = tuple(
            replace(part, recipe=replace(part.recipe, num_steps=arguments.steps)) for part in PARTS
        )
    train_consistency(StageFolders(arguments.start, arguments.out), device, parts)


if __name__ == "__main__":
    main()
