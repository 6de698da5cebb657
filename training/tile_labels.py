"""The labels that the gate learns: what compressing each tile alone costs the answers.

A tile's label comes from how much the answers diverge from the reference's when that tile alone is
compressed (paper 2508.18265, section 2.3). Everything that can be asked about a picture is asked,
because the gate sees no question: a tile whose number nobody asks for would seem to cost nothing.
For the same reason pictures come alone: of two, hardly anything is asked but which one it is.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from common.model_config import load_model_config
from training.batches import Batch, Batcher, PictureQuestions
from training.consistency import divergence
from training.forward import answer_logits
from training.picture_data import PictureCutter, batches
from training.questions import ask_all
from training.ratio_window import RatioWindow, loss_ratio
from training.scenes import draw_scene
from training.tokenizer import train_tokenizer
from training.trainable_model import TrainableModel

SEED = 21


@dataclass(frozen=True, slots=True)
class OneCompressed:
    """The questions about one picture of n tiles.

    Attributes:
        full: One sequence, every tile at full resolution; with the pixels.
        each: n + 1 sequences: the same, then with each tile compressed alone.
    """

    full: Batch
    each: Batch


class OneCompressedMaker:
    """Draws pictures, asks everything about them, and packs the questions n + 2 times."""

    def __init__(self, directory: Path) -> None:
        config = load_model_config(directory)
        self._cutter = PictureCutter(config)
        self._full = config.full_tokens_per_tile
        self._compressed = config.compressed_tokens_per_tile
        self._batcher = Batcher(train_tokenizer())

    def __call__(self, source: random.Random, step: int) -> OneCompressed:  # noqa: ARG002
        """Make the sequences of one picture."""
        scene = draw_scene(source)
        cut = self._cutter.cut(scene)
        pixels = cut.pixels
        full = [self._full] * len(pixels)
        each = [full] + [
            [*full[:tile], self._compressed, *full[tile + 1 :]] for tile in range(len(pixels))
        ]
        asked = PictureQuestions((cut,), tuple((turn,) for turn in ask_all(scene, source)))
        return OneCompressed(
            self._batcher.batch([asked], [full], pixels),
            self._batcher.batch([asked] * len(each), each, pixels),
        )


@dataclass(frozen=True, slots=True)
class LabelledTiles:
    """What the gate learns from.

    Attributes:
        features: [n, P, d] of the frozen vision transformer.
        labels: [n], `COMPRESS` or `KEEP`.
    """

    features: torch.Tensor
    labels: torch.Tensor

    def save(self, file: Path) -> None:
        """Write everything, or nothing."""
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        save_file({"features": self.features.contiguous(), "labels": self.labels}, fresh)
        fresh.replace(file)

    @classmethod
    def load(cls, file: Path) -> "LabelledTiles":
        """Read what was written."""
        tensors = load_file(file)
        return cls(tensors["features"], tensors["labels"])

    def to(self, device: torch.device) -> "LabelledTiles":
        """Put the tensors on a device."""
        return LabelledTiles(self.features.to(device), self.labels.to(device))

    def split(self, first: int) -> tuple["LabelledTiles", "LabelledTiles"]:
        """The first tiles, and the others."""
        return (
            LabelledTiles(self.features[:first], self.labels[:first]),
            LabelledTiles(self.features[first:], self.labels[first:]),
        )


@dataclass(frozen=True, slots=True)
class MeasuredTiles:
    """The tiles of one picture.

    Attributes:
        features: [n, P, d].
        ratios: Loss ratio of each tile.
    """

    features: torch.Tensor
    ratios: tuple[float, ...]


@torch.inference_mode()
def measure(model: TrainableModel, reference: TrainableModel, made: OneCompressed) -> MeasuredTiles:
    """Measure what compressing each tile alone costs.

    Args:
        model: Consistent, its gate not yet trained.
        reference: Frozen, sees every tile at full resolution.
        made: One picture.
    """
    full, each = made.full.to(model.device), made.each.to(model.device)
    seen = reference.vision.encode(full.pixels)
    wanted = answer_logits(reference, full, seen, [False] * len(seen))
    features = model.vision.encode(full.pixels)
    num_tiles = len(features)
    alone = torch.eye(num_tiles, dtype=torch.bool).flatten().tolist()
    masks = [*[False] * num_tiles, *alone]
    logits = answer_logits(model, each, features.repeat(num_tiles + 1, 1, 1), masks)
    losses = [float(divergence(wanted, part)) for part in torch.split(logits, len(wanted))]
    ratios = tuple(loss_ratio(loss, losses[0]) for loss in losses[1:])
    return MeasuredTiles(features.cpu(), ratios)


def label_tiles(
    model: TrainableModel, reference: TrainableModel, maker: OneCompressedMaker, num_pictures: int
) -> LabelledTiles:
    """Label the tiles of many pictures."""
    window = RatioWindow()
    features, labels = [], []
    for made in tqdm(batches(maker, SEED, 0, num_pictures), total=num_pictures, mininterval=5.0):
        assert isinstance(made, OneCompressed)  # noqa: S101  # the maker makes nothing else
        measured = measure(model, reference, made)
        features.append(measured.features)
        labels += window.label(measured.ratios)
    return LabelledTiles(torch.cat(features), torch.tensor(labels))
