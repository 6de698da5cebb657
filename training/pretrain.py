"""Stage 0: eyes first, then question answering, both before any compression.

    python -m training.pretrain eyes      OUT
    python -m training.pretrain questions OUT --start EYES

Eyes: the vision transformer learns to name what is in each patch. Questions: everything learns to
answer, while the patch labels stay on as a lesser goal.
"""

import argparse
from dataclasses import replace

import torch
from torch.nn import functional

from training.accuracy import exact_by_kind
from training.build_checkpoint import THRESHOLDS
from training.checkpoint_files import WEIGHTS_FILE
from training.forward import answer_logits
from training.optimizer import TwoOptimizers
from training.patch_heads import PatchHeads
from training.picture_data import EyesBatch, EyesMaker, QuestionBatch, QuestionMaker
from training.run import Recipe, StepLoss, TrainingRun, write_losses
from training.run_state import RunState
from training.stage import LOSSES_FILE, STATE_FILE, StageFolders, add_common_arguments, set_up
from training.trainable_model import TrainableModel, write_untrained

EYES = Recipe(seed=1, muon_rate=5e-3, adam_rate=2e-3, num_steps=3600, batch_size=32)
QUESTIONS = Recipe(seed=2, muon_rate=4e-3, adam_rate=2e-3, num_steps=5000, batch_size=32)
PATCH_LOSS_SHARE = 0.3
EASY_SHARE = 0.2


def train_eyes(
    folders: StageFolders,
    device: torch.device,
    recipe: Recipe = EYES,
    last_step: int | None = None,
) -> list[float]:
    """Teach the vision transformer what is in each patch.

    Args:
        folders: An untrained checkpoint is written to `start` unless there is one.
        device: Where to compute.
        recipe: Of the stage.
        last_step: Stop before this one and keep the state; None for the recipe's end.

    Returns:
        The losses of all steps.
    """
    if not (folders.start / WEIGHTS_FILE).is_file():
        write_untrained(folders.start, EYES.seed)
    model = TrainableModel(folders.start, device)
    heads = PatchHeads(model.config, EYES.seed).to(device)
    model.requires_grad_(False)
    model.vision.vision_model.requires_grad_(True)

    def step_loss(made: EyesBatch) -> StepLoss:
        batch = made.to(device)
        features = model.vision.encode(batch.pixels)
        loss = heads.loss(features, batch.labels)
        return StepLoss(loss, loss, lambda: heads.accuracy(features, batch.labels))

    maker = EyesMaker(folders.start, recipe.batch_size)
    run = TrainingRun[EyesBatch](maker, recipe, *_kept(folders, model, heads, recipe))
    losses = run.train(step_loss, last_step)
    if len(losses) == recipe.num_steps:
        _finish(folders, model, heads, losses)
    return losses


def train_questions(
    folders: StageFolders, device: torch.device, recipe: Recipe = QUESTIONS
) -> list[float]:
    """Teach the whole model to answer. Returns the losses of all steps."""
    model = TrainableModel(folders.start, device)
    heads = PatchHeads(model.config, EYES.seed).to(device)
    heads.load(folders.start)

    def step_loss(made: QuestionBatch) -> StepLoss:
        batch = made.to(device)
        features = model.vision.encode(batch.batch.pixels)
        logits = answer_logits(model, batch.batch, features, [False] * len(features))
        loss = functional.cross_entropy(logits, batch.batch.answers)
        patch_loss = heads.loss(features, batch.labels)
        named = logits.detach().argmax(-1)
        return StepLoss(
            objective=loss + PATCH_LOSS_SHARE * patch_loss,
            shown=loss,
            details=lambda: exact_by_kind(batch.batch, batch.asked, named),
        )

    maker = QuestionMaker(folders.start, recipe.batch_size, round(EASY_SHARE * recipe.num_steps))
    run = TrainingRun[QuestionBatch](maker, recipe, *_kept(folders, model, heads, recipe))
    losses = run.train(step_loss)
    _finish(folders, model, heads, losses)
    return losses


def _kept(
    folders: StageFolders, model: TrainableModel, heads: PatchHeads, recipe: Recipe
) -> tuple[TwoOptimizers, RunState]:
    parameters = [*model.named_parameters(), *heads.named_parameters()]
    optimizers = TwoOptimizers(parameters, recipe.muon_rate, recipe.adam_rate)
    return optimizers, RunState(folders.out / STATE_FILE, {"model": model, "heads": heads})


def _finish(
    folders: StageFolders, model: TrainableModel, heads: PatchHeads, losses: list[float]
) -> None:
    model.save(folders.out, "float32", THRESHOLDS)
    heads.save(folders.out)
    write_losses(losses, folders.out / LOSSES_FILE)
    (folders.out / STATE_FILE).unlink(missing_ok=True)


def main() -> None:
    """Run one of the two stages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stage", choices=("eyes", "questions"))
    add_common_arguments(parser)
    arguments = parser.parse_args()
    device = set_up(arguments)
    train, recipe = (
        (train_eyes, EYES) if arguments.stage == "eyes" else (train_questions, QUESTIONS)
    )
    steps = arguments.steps or recipe.num_steps
    folders = StageFolders(arguments.start or arguments.out / "untrained", arguments.out)
    train(folders, device, replace(recipe, num_steps=steps))


if __name__ == "__main__":
    main()
