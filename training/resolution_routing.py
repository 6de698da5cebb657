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


def train_gate(model: TrainableModel, tiles: LabelledTiles, num_steps: int) -> list[float]:
    """Teach the gate the labels; keeps the weights that did best on held-out tiles.

    Returns:
        The binary cross-entropy of every step.
    """
    gate = nn.ModuleList([model.vision.pooling_before_gating, model.vision.gating])
    held_out = round(HELD_OUT_SHARE * len(tiles.labels))
    unseen, known = tiles.to(model.device).split(held_out)
    optimizer = torch.optim.AdamW(gate.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    source = torch.Generator().manual_seed(SEED)
    losses: list[float] = []
    best = GateCheck(float("inf"), 0.0)
    kept = copy.deepcopy(gate.state_dict())
    with tqdm(total=num_steps, mininterval=5.0) as bar, torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)  # of the gate's dropout
        for step in range(num_steps):
            chosen = torch.randint(len(known.labels), (BATCH_TILES,), generator=source)
            gate.train()
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * warm_up_then_decay(step / num_steps)
            loss = gate_loss(model, known.features[chosen], known.labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
            gate.eval()
            if (step + 1) % CHECK_EVERY == 0:
                found = check_gate(model, unseen)
                bar.set_postfix({"loss": f"{found.loss:.3f}", "right": f"{found.right:.3f}"})
                if found.loss < best.loss:
                    best, kept = found, copy.deepcopy(gate.state_dict())
            bar.update()
    gate.load_state_dict(kept)
    return losses


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
    losses = train_gate(model, LabelledTiles.load(file), num_steps)
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
