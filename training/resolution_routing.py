"""ViCO stage 2: the gate learns which tiles can be compressed; everything else is frozen.

    python -m training.resolution_routing OUT --start CONSISTENT --reference QUESTIONS

Labels first (`training.tile_labels`), then binary cross-entropy (paper 2508.18265, section 2.3).
"""

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from training.build_checkpoint import THRESHOLDS
from training.optimizer import warm_up_then_decay
from training.run import write_losses
from training.stage import LOSSES_FILE, StageFolders, add_common_arguments, set_up
from training.tile_labels import SEED, LabelledTiles, OneCompressedMaker, label_tiles
from training.trainable_model import TrainableModel

NUM_PICTURES = 3500
NUM_STEPS = 700
BATCH_TILES = 64
LEARNING_RATE = 1e-3
HELD_OUT_SHARE = 0.1
CHECK_EVERY = 25
LABELS_FILE = "labelled_tiles.safetensors"


@dataclass(frozen=True, slots=True)
class GateCheck:
    """How the gate does on tiles that it has not learned from.

    Attributes:
        loss: Binary cross-entropy.
        right: Share of tiles labelled rightly.
    """

    loss: float
    right: float


def gate_logits(model: TrainableModel, features: torch.Tensor) -> torch.Tensor:
    """Logits [n, 2] of the gate for features [n, P, d]; class 0 is "compress"."""
    logits: torch.Tensor = model.vision.gating(model.vision.pooling_before_gating(features))
    return logits


def gate_loss(model: TrainableModel, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of the gate."""
    return functional.cross_entropy(gate_logits(model, features), labels)


@torch.inference_mode()
def check_gate(model: TrainableModel, tiles: LabelledTiles) -> GateCheck:
    """Judge the gate on held-out tiles."""
    logits = gate_logits(model, tiles.features)
    right = (logits.argmax(-1) == tiles.labels).float().mean()
    return GateCheck(float(functional.cross_entropy(logits, tiles.labels)), float(right))


class GateTraining:
    """Teaches the gate the labels of tiles; keeps the weights that did best on held-out tiles.

    Attributes:
        best: How those did.
    """

    def __init__(self, model: TrainableModel, tiles: LabelledTiles) -> None:
        """Prepare.

        Args:
            model: Its gate learns in place, whatever else is frozen or not.
            tiles: The first tenth is held out.
        """
        self._model = model
        self._gate = nn.ModuleList([model.vision.pooling_before_gating, model.vision.gating])
        held_out = max(1, round(HELD_OUT_SHARE * len(tiles.labels)))
        self._unseen, self._known = tiles.to(model.device).split(held_out)
        self._optimizer = torch.optim.AdamW(
            self._gate.parameters(), lr=LEARNING_RATE, weight_decay=0.05
        )
        self._source = torch.Generator().manual_seed(SEED)
        self.best = GateCheck(float("inf"), 0.0)
        self._kept = copy.deepcopy(self._gate.state_dict())

    def train(self, num_steps: int) -> list[float]:
        """Take all steps. Returns the binary cross-entropy of each."""
        losses: list[float] = []
        with tqdm(total=num_steps, mininterval=5.0) as bar, torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)  # of the gate's dropout
            for step in range(num_steps):
                losses.append(self._step(LEARNING_RATE * warm_up_then_decay(step / num_steps)))
                if (step + 1) % CHECK_EVERY == 0 or step + 1 == num_steps:
                    found = self._check()
                    bar.set_postfix({"loss": f"{found.loss:.3f}", "right": f"{found.right:.3f}"})
                bar.update()
        self._gate.load_state_dict(self._kept)
        return losses

    def _step(self, rate: float) -> float:
        chosen = torch.randint(len(self._known.labels), (BATCH_TILES,), generator=self._source)
        self._gate.train()
        self._optimizer.param_groups[0]["lr"] = rate
        loss = gate_loss(self._model, self._known.features[chosen], self._known.labels[chosen])
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._gate.eval()
        return float(loss.detach())

    def _check(self) -> GateCheck:
        found = check_gate(self._model, self._unseen)
        if found.loss < self.best.loss:
            self.best, self._kept = found, copy.deepcopy(self._gate.state_dict())
        return found


def train_resolution_routing(
    folders: StageFolders,
    reference_directory: Path,
    device: torch.device,
    num_pictures: int = NUM_PICTURES,
    num_steps: int = NUM_STEPS,
) -> list[float]:
    """Label tiles, unless that is done, and train the gate. Returns the losses of all steps."""
    model = TrainableModel(folders.start, device).requires_grad_(False)
    file = folders.out / LABELS_FILE
    if not file.is_file():
        reference = TrainableModel(reference_directory, device).requires_grad_(False)
        maker = OneCompressedMaker(folders.start)
        label_tiles(model, reference, maker, num_pictures).save(file)
    model.vision.pooling_before_gating.requires_grad_(True)
    model.vision.gating.requires_grad_(True)
    losses = GateTraining(model, LabelledTiles.load(file)).train(num_steps)
    model.save(folders.out, "float32", THRESHOLDS)
    write_losses(losses, folders.out / LOSSES_FILE)
    return losses


def main() -> None:
    """Run the stage."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_common_arguments(parser)
    parser.add_argument(
        "--reference", type=Path, required=True, help="checkpoint of stage 1's start"
    )
    arguments = parser.parse_args()
    device = set_up(arguments)
    if arguments.start is None:
        parser.error("--start is needed: the consistent checkpoint")
    folders = StageFolders(arguments.start, arguments.out)
    steps = arguments.steps or NUM_STEPS
    train_resolution_routing(folders, arguments.reference, device, num_steps=steps)


if __name__ == "__main__":
    main()
