"""Stage 0: eyes first, then reading, then question answering, all before any compression.

    python -m training.pretrain eyes      OUT
    python -m training.pretrain reading   OUT --start EYES
    python -m training.pretrain questions OUT --start READING
    python -m training.pretrain relations OUT --start QUESTIONS

Eyes: the vision transformer learns to name what is in each patch, and stays as it is from then on.
Reading: the language model learns to name what each visual token shows, across several patches;
without it, questions about print teach nothing for a long time. Questions: the projector and the
language model learn to answer, while the labels of the tokens stay on as a lesser goal.
Relations: the same, but most is asked about what is left of what and in which of two pictures:
what is learned last, and would need twice the steps among all other questions.
"""

import argparse
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from training.accuracy import exact_by_kind
from training.build_checkpoint import THRESHOLDS
from training.checkpoint_files import WEIGHTS_FILE
from training.dense_labels import NUM_CLASSES
from training.forward import forward_pass
from training.label_heads import LabelHeads
from training.optimizer import TwoOptimizers
from training.picture_data import (
    EyesBatch,
    EyesMaker,
    QuestionBatch,
    QuestionMaker,
    ReadingMaker,
    ask_relations,
)
from training.run import Recipe, StepLoss, TrainingRun, write_losses
from training.run_state import RunState
from training.stage import LOSSES_FILE, STATE_FILE, StageFolders, add_common_arguments, set_up
from training.token_labels import TOKEN_CLASSES
from training.trainable_model import TrainableModel, write_untrained

EYES = Recipe(seed=1, muon_rate=5e-3, adam_rate=2e-3, num_steps=4000, batch_size=32)
READING = Recipe(seed=3, muon_rate=4e-3, adam_rate=2e-3, num_steps=1000, batch_size=32)
QUESTIONS = Recipe(seed=2, muon_rate=4e-3, adam_rate=2e-3, num_steps=4500, batch_size=32)
RELATIONS = Recipe(seed=4, muon_rate=1.5e-3, adam_rate=8e-4, num_steps=2000, batch_size=32)
READING_SHARE = 0.1
EASY_SHARE, LATE_FROM = 0.2, 0.5625


@dataclass(frozen=True, slots=True)
class Pupil:
    """What a stage trains and where.

    Attributes:
        model: The model.
        heads: Classifiers beside it.
    """

    model: TrainableModel
    heads: LabelHeads

    def optimizers(self, recipe: Recipe) -> TwoOptimizers:
        """Optimizers of all that is not frozen."""
        parameters = [*self.model.named_parameters(), *self.heads.named_parameters()]
        return TwoOptimizers(parameters, recipe.muon_rate, recipe.adam_rate)

    def state(self, folders: StageFolders) -> RunState:
        """Where the state of its run is kept."""
        kept = {"model": self.model, "heads": self.heads}
        return RunState(folders.out / STATE_FILE, kept)

    def finish(self, folders: StageFolders, losses: list[float]) -> None:
        """Leave what the next stage starts from."""
        self.model.save(folders.out, "float32", THRESHOLDS)
        self.heads.save(folders.out)
        write_losses(losses, folders.out / LOSSES_FILE)
        self.state(folders).remove()


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
    width = model.config.vision.hidden_size
    pupil = Pupil(model, LabelHeads(width, NUM_CLASSES, EYES.seed).to(device))
    model.requires_grad_(False)
    model.vision.vision_model.requires_grad_(True)

    def step_loss(made: EyesBatch) -> StepLoss:
        batch = made.to(device)
        features = model.vision.encode(batch.pixels)
        loss = pupil.heads.loss(features, batch.labels)
        return StepLoss(loss, loss, lambda: pupil.heads.accuracy(features, batch.labels))

    maker = EyesMaker(folders.start, recipe.batch_size)
    run = TrainingRun[EyesBatch](maker, recipe, pupil.optimizers(recipe), pupil.state(folders))
    losses = run.train(step_loss, last_step)
    if len(losses) == recipe.num_steps:
        pupil.finish(folders, losses)
    return losses


def train_reading(
    folders: StageFolders, device: torch.device, recipe: Recipe = READING
) -> list[float]:
    """Teach the language model what each visual token shows. Returns the losses of all steps."""
    pupil = _reader(folders, device)

    def step_loss(made: QuestionBatch) -> StepLoss:
        batch = made.to(device)
        read = Read.of(pupil.model, batch)
        loss = pupil.heads.loss(read.states, batch.labels)
        return StepLoss(loss, loss, lambda: pupil.heads.accuracy(read.states, batch.labels))

    maker = ReadingMaker(folders.start, recipe.batch_size)
    run = TrainingRun[QuestionBatch](maker, recipe, pupil.optimizers(recipe), pupil.state(folders))
    losses = run.train(step_loss)
    pupil.finish(folders, losses)
    return losses


def train_questions(
    folders: StageFolders, device: torch.device, recipe: Recipe = QUESTIONS
) -> list[float]:
    """Teach the whole model to answer. Returns the losses of all steps."""
    maker = QuestionMaker(
        folders.start,
        recipe.batch_size,
        easy_steps=round(EASY_SHARE * recipe.num_steps),
        late_step=round(LATE_FROM * recipe.num_steps),
    )
    return _train_answers(folders, device, recipe, maker)


def train_relations(
    folders: StageFolders, device: torch.device, recipe: Recipe = RELATIONS
) -> list[float]:
    """Teach it what is learned last. Returns the losses of all steps."""
    maker = QuestionMaker(folders.start, recipe.batch_size, late_step=0, ask_late=ask_relations)
    return _train_answers(folders, device, recipe, maker)


def _train_answers(
    folders: StageFolders, device: torch.device, recipe: Recipe, maker: QuestionMaker
) -> list[float]:
    pupil = _reader(folders, device)
    pupil.heads.load(folders.start)

    def step_loss(made: QuestionBatch) -> StepLoss:
        batch = made.to(device)
        read = Read.of(pupil.model, batch)
        loss = functional.cross_entropy(read.answer_logits, batch.batch.answers)
        reading_loss = pupil.heads.loss(read.states, batch.labels)
        named = read.answer_logits.detach().argmax(-1)
        return StepLoss(
            objective=loss + READING_SHARE * reading_loss,
            shown=loss,
            details=lambda: exact_by_kind(batch.batch, batch.asked, named),
        )

    run = TrainingRun[QuestionBatch](maker, recipe, pupil.optimizers(recipe), pupil.state(folders))
    losses = run.train(step_loss)
    pupil.finish(folders, losses)
    return losses


def _reader(folders: StageFolders, device: torch.device) -> Pupil:
    """Everything but the eyes learns."""
    model = TrainableModel(folders.start, device)
    model.vision.vision_model.requires_grad_(False)
    heads = LabelHeads(model.config.text_hidden_size, TOKEN_CLASSES, READING.seed)
    return Pupil(model, heads.to(device))


@dataclass(frozen=True, slots=True)
class Read:
    """What the language model makes of a batch at full resolution.

    Attributes:
        answer_logits: [n, vocabulary].
        states: [T, 16, h], of every visual token, normalised.
    """

    answer_logits: torch.Tensor
    states: torch.Tensor

    @classmethod
    def of(cls, model: TrainableModel, batch: QuestionBatch) -> "Read":
        """Look at a batch."""
        features = model.vision.encode(batch.batch.pixels)
        passed = forward_pass(model, batch.batch, features, [False] * len(features))
        states = passed.visual_states.view(len(features), -1, passed.visual_states.shape[-1])
        return cls(passed.answer_logits, functional.layer_norm(states, states.shape[-1:]))


STAGES = {
    "eyes": (train_eyes, EYES),
    "reading": (train_reading, READING),
    "questions": (train_questions, QUESTIONS),
    "relations": (train_relations, RELATIONS),
}


def main() -> None:
    """Run one of the stages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stage", choices=STAGES)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    device = set_up(arguments)
    train, recipe = STAGES[arguments.stage]
    steps = arguments.steps or recipe.num_steps
    folders = StageFolders(arguments.start or arguments.out / "untrained", arguments.out)
    train(folders, device, replace(recipe, num_steps=steps))


if __name__ == "__main__":
    main()
