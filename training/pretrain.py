"""Stage 0: eyes first, then question answering, both before any compression.

    python -m training.pretrain eyes      OUT --steps N
    python -m training.pretrain questions OUT --start DIR --steps N

Eyes: the vision transformer learns to name what is in each patch. Questions: everything learns to
answer, while the patch labels stay on as a lesser goal.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from common.model_config import ModelConfig
from training.build_checkpoint import THRESHOLDS
from training.dense_labels import NOTHING, NUM_CLASSES
from training.forward import answer_logits, answer_tokens
from training.optimizer import TwoOptimizers, warm_up_then_decay
from training.picture_data import EyesBatch, EyesMaker, PatchLabels, QuestionBatch, QuestionMaker
from training.run import Recipe, TrainingRun, write_losses
from training.trainable_model import TrainableModel, write_untrained

EYES = Recipe(seed=1, muon_rate=5e-3, adam_rate=2e-3)
QUESTIONS = Recipe(seed=2, muon_rate=4e-3, adam_rate=2e-3)
EYES_TILES = 32
PICTURES = 32
PATCH_LOSS_SHARE = 0.3
EASY_SHARE = 0.25
HEADS_FILE = "patch_heads.safetensors"
LOSSES_FILE = "losses.json"


class PatchHeads(nn.Module):
    """One linear classifier per patch label; used in training only."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.vision.hidden_size
        # Drawn from a seed of their own, whatever else has drawn numbers before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(EYES.seed)
            heads = {name: nn.Linear(width, n) for name, n in NUM_CLASSES.items()}
        self.heads = nn.ModuleDict(heads)

    def loss(self, features: torch.Tensor, labels: PatchLabels) -> torch.Tensor:
        """Mean cross-entropy of each label over the patches that have it, added up.

        Args:
            features: [T, P, d].
            labels: By name [T, P].
        """
        total = features.new_zeros(())
        for name, head in self.heads.items():
            labelled = labels[name] != NOTHING
            if labelled.any():
                logits = head(features[labelled])
                total = total + functional.cross_entropy(logits, labels[name][labelled])
        return total

    def accuracy(self, features: torch.Tensor, labels: PatchLabels) -> Mapping[str, float]:
        """Share of labelled patches named rightly, by label."""
        shares = {}
        for name, head in self.heads.items():
            labelled = labels[name] != NOTHING
            if labelled.any():
                named = head(features[labelled]).argmax(-1)
                shares[name] = float((named == labels[name][labelled]).float().mean())
        return shares


def train_eyes(run: TrainingRun[EyesBatch], model: TrainableModel, heads: PatchHeads) -> None:
    """Teach the vision transformer what is in each patch."""
    model.requires_grad_(False)
    model.vision.vision_model.requires_grad_(True)
    optimizer = TwoOptimizers(
        [*model.named_parameters(), *heads.named_parameters()], EYES.muon_rate, EYES.adam_rate
    )
    for step, batch in run.steps():
        features = model.vision.encode(batch.pixels)
        loss = heads.loss(features, batch.labels)
        optimizer.step(loss, warm_up_then_decay(run.progress(step)))
        if run.record(step, loss):
            run.show(heads.accuracy(features, batch.labels))


def train_questions(
    run: TrainingRun[QuestionBatch], model: TrainableModel, heads: PatchHeads
) -> None:
    """Teach the whole model to answer."""
    model.requires_grad_(True)
    optimizer = TwoOptimizers(
        [*model.named_parameters(), *heads.named_parameters()],
        QUESTIONS.muon_rate,
        QUESTIONS.adam_rate,
    )
    for step, batch in run.steps():
        features = model.vision.encode(batch.batch.pixels)
        logits = answer_logits(model, batch.batch, features, [False] * len(features))
        wanted = answer_tokens(batch.batch)
        loss = functional.cross_entropy(logits, wanted)
        patch_loss = heads.loss(features, batch.labels)
        optimizer.step(loss + PATCH_LOSS_SHARE * patch_loss, warm_up_then_decay(run.progress(step)))
        if run.record(step, loss):
            run.show({"tokens": float((logits.argmax(-1) == wanted).float().mean())})


def save_heads(heads: PatchHeads, directory: Path) -> None:
    """Keep the patch classifiers beside a checkpoint, for the next stage."""
    save_file(heads.state_dict(), directory / HEADS_FILE)


def load_heads(heads: PatchHeads, directory: Path) -> None:
    """Take the patch classifiers of an earlier stage, where there are some."""
    if (directory / HEADS_FILE).is_file():
        heads.load_state_dict(load_file(directory / HEADS_FILE))


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("stage", choices=("eyes", "questions"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path, help="checkpoint to start from")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = arguments.start
    if start is None:
        start = arguments.out / "start"
        write_untrained(start, EYES.seed)
    model = TrainableModel(start, torch.device("cpu"))
    heads = PatchHeads(model.config)
    load_heads(heads, start)
    if arguments.stage == "eyes":
        seeing = TrainingRun[EyesBatch](EyesMaker(start, EYES_TILES), EYES, arguments.steps)
        train_eyes(seeing, model, heads)
        losses = seeing.losses
    else:
        easy = round(EASY_SHARE * arguments.steps)
        maker = QuestionMaker(start, PICTURES, easy)
        asking = TrainingRun[QuestionBatch](maker, QUESTIONS, arguments.steps)
        train_questions(asking, model, heads)
        losses = asking.losses
    model.save(arguments.out, "float32", THRESHOLDS)
    save_heads(heads, arguments.out)
    write_losses(losses, arguments.out / LOSSES_FILE)


if __name__ == "__main__":
    main()
