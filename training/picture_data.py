"""Endless seeded batches, drawn and cut in worker processes.

Batch number i depends on the seed and i alone, so any number of workers gives the same run, and a
resumed run goes on where it stopped.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from common.config import ImageLimits
from common.model_config import ModelConfig, load_model_config
from training.batches import Batch, Batcher, PictureQuestions
from training.dense_labels import NOTHING, label_patches
from training.drawing import draw_picture
from training.label_heads import Labels
from training.questions import Turn, ask, ask_all, ask_pair, ask_text, ask_twice
from training.scenes import Scene, draw_scene, draw_wall
from training.token_labels import label_tokens
from training.tokenizer import train_tokenizer
from training.vocabulary import DETAIL_KINDS, Kind
from vision_service.images import TiledImage
from vision_service.preprocess import Preprocessor

WALL_SHARE = 0.6
TEXT_SHARE, PAIR_SHARE = 0.04, 0.1
PLAIN_KINDS = (Kind.SHAPE, Kind.COUNT, Kind.LEFT)
# What is asked of every picture late in training: what one tile alone cannot tell comes first.
LATE_KINDS = (
    *(Kind.LEFT, Kind.LEFT, Kind.DESCRIBE, Kind.COUNT, Kind.SHAPE),
    *(Kind.DOTS, Kind.DOTS, Kind.NUMBER, Kind.NUMBER, Kind.WORD, Kind.ICON),
)
EASY_SINGLE_SHARE, SINGLE_SHARE, LATE_SINGLE_SHARE = 0.7, 0.3, 0.15
LATE_PAIR_SHARE, RELATIONS_PAIR_SHARE = 0.25, 0.4
# What is asked of every picture beside what is left of what, so that it is not forgotten.
RELATIONS_KINDS = (Kind.DESCRIBE, Kind.COUNT, Kind.SHAPE)


@dataclass(frozen=True, slots=True)
class EyesBatch:
    """Tiles and the labels of their patches.

    Attributes:
        pixels: [T, 3, S, S].
        labels: By label name [T, P], `NOTHING` for none.
    """

    pixels: torch.Tensor
    labels: Labels

    def to(self, device: torch.device) -> "EyesBatch":
        """Put the tensors on a device."""
        return EyesBatch(self.pixels.to(device), _to(self.labels, device))


@dataclass(frozen=True, slots=True)
class QuestionBatch:
    """Packed questions and the labels of all visual tokens.

    Attributes:
        batch: At full resolution.
        asked: What is in it, to be packed again at other resolutions.
        labels: By label name [T, 16], `NOTHING` for none.
    """

    batch: Batch
    asked: tuple[PictureQuestions, ...]
    labels: Labels

    def to(self, device: torch.device) -> "QuestionBatch":
        """Put the tensors on a device."""
        return QuestionBatch(self.batch.to(device), self.asked, _to(self.labels, device))


class AskAbout(Protocol):
    """Draws pictures, or none, and conversations about them."""

    def __call__(
        self, source: random.Random, single: bool
    ) -> tuple[tuple[Scene, ...], tuple[tuple[Turn, ...], ...]]:
        """Draw; of single tiles where that is said."""


class BatchMaker(Protocol):
    """Makes one batch from one random source."""

    def __call__(self, source: random.Random, step: int) -> object:
        """Make the batch of a step."""


class PictureCutter:
    """Draws scenes and cuts them as the vision service does."""

    def __init__(self, config: ModelConfig) -> None:
        self._preprocessor = Preprocessor(config, ImageLimits())

    def cut(self, scene: Scene) -> TiledImage:
        """Draw and cut one scene."""
        tiled = self._preprocessor.tile_image(draw_picture(scene))
        if (tiled.grid.columns, tiled.grid.rows) != (scene.columns, scene.rows):
            raise ValueError("the tiler cut another grid than the scene was drawn on")
        return tiled


class EyesMaker:
    """Batches of tiles and thumbnails with labels, many of them of crammed walls."""

    def __init__(self, directory: Path, num_tiles: int) -> None:
        self._cutter = PictureCutter(load_model_config(directory))
        self._num_tiles = num_tiles

    def __call__(self, source: random.Random, step: int) -> EyesBatch:  # noqa: ARG002
        """Draw scenes until there are enough tiles."""
        pixels: list[torch.Tensor] = []
        labels: list[Labels] = []
        num_tiles = 0
        while num_tiles < self._num_tiles:
            scene = draw_wall(source) if source.random() < WALL_SHARE else draw_scene(source)
            tiles = self._cutter.cut(scene).pixels
            pixels.append(tiles)
            labels.append(patch_labels(scene, len(tiles)))
            num_tiles += len(tiles)
        return EyesBatch(torch.cat(pixels), _joined(labels))


class QuestionMaker:
    """Batches of pictures with several questions each, easy ones first, then the hard ones."""

    def __init__(
        self,
        directory: Path,
        num_pictures: int,
        easy_steps: int = 0,
        late_step: int | None = None,
        ask_late: "AskAbout | None" = None,
    ) -> None:
        """Prepare.

        Args:
            directory: Any checkpoint of the shape, for its configuration.
            num_pictures: Single-tile pictures of a batch; of larger ones half as many.
            easy_steps: Steps in which batches are half as large and most are of single tiles.
            late_step: The first step of the hardest questions, about the largest pictures.
            ask_late: Draws those; None for `ask_much`.
        """
        config = load_model_config(directory)
        self._cutter = PictureCutter(config)
        self._full_tokens = config.full_tokens_per_tile
        self._batcher = Batcher(train_tokenizer())
        self._num_pictures = num_pictures
        self._easy_steps = easy_steps
        self._late_step = late_step
        self._ask_late = ask_late or ask_much

    def __call__(self, source: random.Random, step: int) -> QuestionBatch:
        """Draw pictures and ask about them."""
        easy = step < self._easy_steps
        late = self._late_step is not None and step >= self._late_step
        single_share = LATE_SINGLE_SHARE if late else SINGLE_SHARE
        single = source.random() < (EASY_SINGLE_SHARE if easy else single_share)
        num_pictures = self._num_pictures // ((1 if single else 2) * (2 if easy else 1))
        asked: list[PictureQuestions] = []
        pixels: list[torch.Tensor] = []
        labels: list[Labels] = []
        for _ in range(max(1, num_pictures)):
            ask_about = self._ask_late if late else ask_several
            scenes, branches = ask_about(source, single)
            cut = tuple(self._cutter.cut(scene) for scene in scenes)
            asked.append(PictureQuestions(cut, branches))
            for scene, tiled in zip(scenes, cut, strict=True):
                pixels.append(tiled.pixels)
                labels.append(token_labels(scene, len(tiled.pixels)))
        tile_tokens = [
            [self._full_tokens] * sum(len(cut.pixels) for cut in each.pictures) for each in asked
        ]
        batch = self._batcher.batch(asked, tile_tokens, torch.cat(pixels))
        return QuestionBatch(batch, tuple(asked), _joined(labels))


class ReadingMaker:
    """Batches of pictures with labels and without questions, many of them walls."""

    def __init__(self, directory: Path, num_tiles: int) -> None:
        config = load_model_config(directory)
        self._cutter = PictureCutter(config)
        self._full_tokens = config.full_tokens_per_tile
        self._batcher = Batcher(train_tokenizer())
        self._num_tiles = num_tiles

    def __call__(self, source: random.Random, step: int) -> QuestionBatch:  # noqa: ARG002
        """Draw pictures until there are enough tiles."""
        asked: list[PictureQuestions] = []
        tiles: list[torch.Tensor] = []
        labels: list[Labels] = []
        while sum(map(len, tiles)) < self._num_tiles:
            scene = draw_wall(source) if source.random() < WALL_SHARE else draw_scene(source)
            cut = self._cutter.cut(scene)
            asked.append(PictureQuestions((cut,), ()))
            tiles.append(cut.pixels)
            labels.append(token_labels(scene, len(cut.pixels)))
        tile_tokens = [[self._full_tokens] * len(each) for each in tiles]
        batch = self._batcher.batch(asked, tile_tokens, torch.cat(tiles))
        return QuestionBatch(batch, tuple(asked), _joined(labels))


class SteppedDataset(Dataset[object]):
    """Batch i of a run."""

    def __init__(self, maker: BatchMaker, seed: int, first_step: int, num_steps: int) -> None:
        self._maker = maker
        self._seed = seed
        self._first_step = first_step
        self._num_steps = num_steps

    def __len__(self) -> int:
        """Batches that are left."""
        return self._num_steps - self._first_step

    def __getitem__(self, index: int) -> object:
        """Make a batch; the training itself needs the cores."""
        torch.set_num_threads(1)
        step = self._first_step + index
        return self._maker(random.Random(f"{self._seed} {step}"), step)  # noqa: S311


def batches(maker: BatchMaker, seed: int, first_step: int, num_steps: int) -> Iterator[object]:
    """Make the batches of a run in a worker process."""
    dataset = SteppedDataset(maker, seed, first_step, num_steps)
    return iter(DataLoader(dataset, batch_size=None, num_workers=1, prefetch_factor=4))


def ask_several(
    source: random.Random, single: bool
) -> tuple[tuple[Scene, ...], tuple[tuple[Turn, ...], ...]]:
    """Draw none, one or two scenes and several conversations about them."""
    kind = source.random()
    if kind < TEXT_SHARE:
        return (), tuple((ask_text(source),) for _ in range(4))
    if kind < TEXT_SHARE + PAIR_SHARE:
        return ask_pairs(source, single)
    scene = draw_scene(source, 1 if single else None)
    kinds = [*source.sample(DETAIL_KINDS, 4), *source.sample(DETAIL_KINDS, 2)]
    kinds += source.sample(PLAIN_KINDS, 2)
    if source.random() < 0.5:
        kinds.append(Kind.DESCRIBE)
    branches = [(turn,) for kind in kinds if (turn := ask(kind, scene, source)) is not None]
    twice = ask_twice(scene, source) if source.random() < 0.4 else None
    return (scene,), (*branches, *([twice] if twice is not None else []))


def ask_much(
    source: random.Random, single: bool
) -> tuple[tuple[Scene, ...], tuple[tuple[Turn, ...], ...]]:
    """Draw as `ask_several` does, with more pairs and more questions about the whole picture."""
    kind = source.random()
    if kind < TEXT_SHARE:
        return (), tuple((ask_text(source),) for _ in range(4))
    if kind < TEXT_SHARE + LATE_PAIR_SHARE:
        return ask_pairs(source, single)
    scene = draw_scene(source, 1 if single else None)
    branches = [(turn,) for kind in LATE_KINDS if (turn := ask(kind, scene, source)) is not None]
    twice = ask_twice(scene, source)
    return (scene,), (*branches, *([twice] if twice is not None else []))


def ask_relations(
    source: random.Random, single: bool
) -> tuple[tuple[Scene, ...], tuple[tuple[Turn, ...], ...]]:
    """Draw as `ask_several` does, and ask most about what is left of what and in which picture."""
    kind = source.random()
    if kind < TEXT_SHARE:
        return (), tuple((ask_text(source),) for _ in range(4))
    if kind < TEXT_SHARE + RELATIONS_PAIR_SHARE:
        return ask_pairs(source, single)
    scene = draw_scene(source, 1 if single else None)
    kinds = (*RELATIONS_KINDS, *source.sample(DETAIL_KINDS, 2))
    turns = [turn for turn in ask_all(scene, source) if turn.kind is Kind.LEFT]
    turns += [turn for kind in kinds if (turn := ask(kind, scene, source)) is not None]
    return (scene,), tuple((turn,) for turn in turns)


def ask_widely(
    source: random.Random, single: bool
) -> tuple[tuple[Scene, ...], tuple[tuple[Turn, ...], ...]]:
    """Draw as `ask_much` or as `ask_relations` does, one as often as the other."""
    ask_about = ask_relations if source.random() < 0.5 else ask_much
    return ask_about(source, single)


def ask_pairs(
    source: random.Random, single: bool
) -> tuple[tuple[Scene, ...], tuple[tuple[Turn, ...], ...]]:
    """Draw two scenes that differ, and four questions about the difference."""
    while True:
        first, second = (draw_scene(source, 1 if single else None) for _ in range(2))
        turns = [ask_pair(first, second, source) for _ in range(4)]
        found = tuple((turn,) for turn in turns if turn is not None)
        if found:
            return (first, second), found


def token_labels(scene: Scene, num_tiles: int) -> Labels:
    """Labels of the visual tokens of all tiles of a picture, its thumbnail's shapes included."""
    labels = _tensors(label_tokens(scene))
    if num_tiles > scene.columns * scene.rows:
        return _joined([labels, _tensors(label_tokens(scene.as_thumbnail()))])
    return labels


def patch_labels(scene: Scene, num_tiles: int) -> Labels:
    """Labels of the patches of all tiles of a picture, its thumbnail's shapes included."""
    labels = _tensors(label_patches(scene).by_name)
    if num_tiles > scene.columns * scene.rows:
        thumbnail = _tensors(label_patches(scene.as_thumbnail()).by_name)
        # There may be dots, which the thumbnail's scene leaves out.
        thumbnail["dots"].fill_(NOTHING)
        return _joined([labels, thumbnail])
    return labels


def _tensors(grids: Mapping[str, NDArray[np.int64]]) -> Labels:
    return {name: torch.from_numpy(grid) for name, grid in grids.items()}


def _joined(labels: list[Labels]) -> Labels:
    return {name: torch.cat([each[name] for each in labels]) for name in labels[0]}


def _to(labels: Labels, device: torch.device) -> Labels:
    return {name: each.to(device) for name, each in labels.items()}
