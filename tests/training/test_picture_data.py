"""Batches depend on seed and step alone, and hold what is served."""

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from common.config import ImageLimits
from common.model_config import load_model_config
from training.dense_labels import NOTHING, NUM_CLASSES
from training.picture_data import (
    EyesBatch,
    EyesMaker,
    PictureCutter,
    QuestionBatch,
    QuestionMaker,
    ReadingMaker,
    ask_much,
    ask_relations,
    ask_several,
    ask_widely,
    batches,
    patch_labels,
    token_labels,
)
from training.pictures import picture_file
from training.questions import ask_text, left_neighbour
from training.scenes import Dots, Scene, Shape, Sign, draw_scene
from training.token_labels import TOKEN_CLASSES
from training.vocabulary import COLOURS, SHAPES, Kind
from vision_service.preprocess import Preprocessor


def source(name: object) -> random.Random:
    return random.Random(f"{name}")  # noqa: S311 - drawing, not secrets


@dataclass(frozen=True, slots=True)
class Made:
    """A batch that knows how it was made."""

    step: int
    drawn: float
    num_threads: int


class MadeMaker:
    """Writes down what it was asked for."""

    def __call__(self, source: random.Random, step: int) -> Made:
        return Made(step, source.random(), torch.get_num_threads())


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    whole = list(batches(MadeMaker(), 4, 0, 6))
    assert whole == [Made(step, source(f"4 {step}").random(), 1) for step in range(6)]
    assert list(batches(MadeMaker(), 4, 4, 6)) == whole[4:]
    assert list(batches(MadeMaker(), 4, 6, 6)) == []
    assert list(batches(MadeMaker(), 5, 0, 6)) != whole


def test_what_is_cut_is_what_is_served(untrained_dir: Path) -> None:
    config = load_model_config(untrained_dir)
    served, cutter = Preprocessor(config, ImageLimits()), PictureCutter(config)
    for index in range(12):
        scene = draw_scene(source(f"served {index}"))
        cut, wanted = cutter.cut(scene), served.tile(picture_file(scene))
        assert torch.equal(cut.pixels, wanted.pixels)
        assert len(cut.pixels) == cut.grid.num_tiles


def test_another_grid_than_the_scenes_is_an_error(untrained_dir: Path) -> None:
    cutter = PictureCutter(load_model_config(untrained_dir))
    flat = Scene(1, 1, 240, 112, "grey", (), (), (), None)
    with pytest.raises(ValueError, match="another grid"):
        cutter.cut(flat)


def test_eyes_see_labelled_tiles_many_of_them_crammed(untrained_dir: Path) -> None:
    made = EyesMaker(untrained_dir, num_tiles=60)(source("eyes"), 0)
    assert isinstance(made, EyesBatch)
    num_tiles = len(made.pixels)
    assert 60 <= num_tiles < 67
    assert made.labels.keys() == NUM_CLASSES.keys()
    assert {labels.shape for labels in made.labels.values()} == {(num_tiles, 64)}
    assert (made.labels["background"] != NOTHING).all()
    halves = [made.labels[f"{half}_character"] for half in ("left", "right")]
    crammed = (torch.stack(halves) != NOTHING).sum(dim=(0, 2)) >= 10
    assert 0.1 < float(crammed.float().mean()) < 0.5


def test_a_thumbnail_is_labelled_with_its_big_shapes_alone() -> None:
    cross, sign = Shape("cross", "red", 160.0, 60.0, 30.0), Sign("EXIT", "blue", 40.0, 40.0)
    dots = Dots("white", ((90.0, 90.0),))
    scene = Scene(2, 1, 224, 112, "grey", (cross,), (), (sign,), dots)
    for labels, num_places in ((patch_labels(scene, 3), 64), (token_labels(scene, 3), 16)):
        assert {each.shape for each in labels.values()} == {(3, num_places)}
        assert (labels["big_shape"] != NOTHING).any(dim=1).tolist() == [False, True, True]
        named = {name for name, each in labels.items() if (each[2] != NOTHING).any()}
        assert named <= {"big_shape", "big_colour", "colour", "background"}
    # 160 of 224 pixels are 80 of 112; the inner half of 15 pixels reaches 72.5 to 87.5 and 52.5
    # to 67.5: two patches each way, and the centre is in the token of row 2, column 2.
    shape = SHAPES.index("cross")
    patches = patch_labels(scene, 3)["big_shape"][2].view(8, 8)
    assert (patches == shape).nonzero().tolist() == [[3, 5], [3, 6], [4, 5], [4, 6]]
    assert (token_labels(scene, 3)["big_shape"][2] == shape).nonzero().tolist() == [[10]]
    assert token_labels(scene, 3)["big_colour"][2, 10] == list(COLOURS).index("red")


def test_a_single_tile_has_no_thumbnail_to_label() -> None:
    scene = draw_scene(source("alone"), 1)
    assert {len(each) for each in patch_labels(scene, 1).values()} == {1}
    assert {len(each) for each in token_labels(scene, 1).values()} == {1}


def test_tiles_to_read_are_labelled_and_not_asked_about(untrained_dir: Path) -> None:
    made = ReadingMaker(untrained_dir, num_tiles=40)(source("reading"), 0)
    assert isinstance(made, QuestionBatch)
    num_tiles = len(made.batch.pixels)
    assert 40 <= num_tiles < 47
    assert sum(made.batch.tiles) == num_tiles
    assert len(set(made.batch.tiles)) > 1
    assert len(made.batch.answers) == 0
    assert made.labels.keys() == TOKEN_CLASSES.keys()
    assert {labels.shape for labels in made.labels.values()} == {(num_tiles, 16)}
    signs = (made.labels["sign_colour"] != NOTHING).sum(dim=1)
    assert 0.2 < float((signs >= 3).float().mean()) < 0.8


@pytest.mark.parametrize(("step", "most"), [(0, 8), (9, 16)])
def test_easy_batches_are_half_as_large(untrained_dir: Path, step: int, most: int) -> None:
    maker = QuestionMaker(untrained_dir, num_pictures=16, easy_steps=5)
    made = [maker(source(f"half {index}"), step) for index in range(12)]
    assert {len(each.asked) for each in made} == {most, most // 2}
    for each in made:
        single = max(len(cut.pixels) for asked in each.asked for cut in asked.pictures) == 1
        assert single == (len(each.asked) == most)


def test_a_batch_of_questions_fits_together(untrained_dir: Path) -> None:
    made = QuestionMaker(untrained_dir, num_pictures=8, easy_steps=0)(source("together"), 0)
    assert isinstance(made, QuestionBatch)
    pixels = [cut.pixels for asked in made.asked for cut in asked.pictures]
    assert torch.equal(made.batch.pixels, torch.cat(pixels))
    assert len(made.batch.pixels) == sum(made.batch.tiles)
    assert {labels.shape for labels in made.labels.values()} == {(len(made.batch.pixels), 16)}
    assert made.batch.tiles == tuple(sum(len(c.pixels) for c in a.pictures) for a in made.asked)


def test_every_kind_is_asked_in_training_and_detail_most() -> None:
    drawn = [ask_several(source(f"kinds {index}"), single=False) for index in range(300)]
    kinds = [branch[-1].kind for _, branches in drawn for branch in branches]
    assert set(kinds) == set(Kind)
    detail = sum(kind in ("word", "number", "dots", "icon") for kind in kinds)
    assert detail / len(kinds) > 0.45
    assert all(branches for _, branches in drawn)
    assert {len(scenes) for scenes, _ in drawn} == {0, 1, 2}


def test_relations_are_asked_about_in_every_scene_and_in_many_pairs() -> None:
    drawn = [ask_relations(source(f"relations {index}"), single=False) for index in range(300)]
    pairs = [branches for scenes, branches in drawn if len(scenes) == 2]
    assert 0.3 < len(pairs) / len(drawn) < 0.5
    assert {turn.kind for branches in pairs for (turn,) in branches} == {Kind.PAIR}
    alone = [(scenes[0], branches) for scenes, branches in drawn if len(scenes) == 1]
    for scene, branches in alone:
        kinds = Counter(turn.kind for (turn,) in branches)
        neighbours = [left_neighbour(scene, shape) for shape in scene.big_shapes]
        assert kinds[Kind.LEFT] == sum(shape is not None for shape in neighbours)
        assert kinds[Kind.DESCRIBE] == kinds[Kind.COUNT] == 1
    seen = {turn.kind for _, branches in alone for (turn,) in branches}
    assert seen == set(Kind) - {Kind.PAIR, Kind.FOLLOW_UP, Kind.TEXT}


def test_asking_widely_asks_about_relations_half_of_the_time() -> None:
    drawn = [ask_widely(source(f"widely {index}"), single=False) for index in range(400)]
    single = [branches for scenes, branches in drawn if len(scenes) == 1]
    # Only questions about everything end with a second one about the same thing, in most scenes.
    told = sum(any(len(branch) == 2 for branch in branches) for branches in single)
    much = [ask_much(source(f"much {index}"), single=False) for index in range(400)]
    always = [any(len(branch) == 2 for branch in each) for scenes, each in much if len(scenes) == 1]
    assert told / len(single) == pytest.approx(sum(always) / len(always) / 2, abs=0.12)


@pytest.mark.parametrize(("step", "kinds"), [(0, False), (5, True)])
def test_late_questions_may_be_of_another_kind(untrained_dir: Path, step: int, kinds: bool) -> None:
    maker = QuestionMaker(untrained_dir, 4, late_step=5, ask_late=ask_relations)
    made = [maker(source(f"late {index}"), step) for index in range(12)]
    asked = {turn.kind for each in made for a in each.asked for b in a.branches for turn in b}
    # Only a second question leans on the first, and relations have none.
    assert (Kind.FOLLOW_UP not in asked) == kinds


def test_easy_scenes_are_of_one_tile() -> None:
    drawn = [ask_several(source(f"single {index}"), single=True) for index in range(100)]
    assert {(s.columns, s.rows) for scenes, _ in drawn for s in scenes} == {(1, 1)}


def test_text_is_asked_about_without_pictures() -> None:
    drawn = [ask_several(source(f"text {index}"), single=False) for index in range(300)]
    texts = [branches for scenes, branches in drawn if not scenes]
    assert texts
    assert {turn.kind for branches in texts for (turn,) in branches} == {ask_text(source(1)).kind}
