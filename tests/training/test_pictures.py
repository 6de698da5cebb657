"""Samples are endless, seeded, of every kind, and look as their scenes say."""

import io
import random
import re
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.drawing import draw_picture
from training.pictures import Sample, draw_sample, draw_samples, picture_file
from training.vocabulary import PHRASINGS, Kind

SAMPLES = list(islice(draw_samples(seed=3), 2200))


def test_every_kind_comes_as_often_as_every_other() -> None:
    counts = Counter(sample.kind for sample in SAMPLES)
    assert set(counts.values()) == {len(SAMPLES) // len(Kind)}


@pytest.mark.parametrize("kind", Kind)
def test_every_phrasing_of_a_kind_is_used(kind: Kind) -> None:
    asked = {sample.turns[-1].question for sample in SAMPLES if sample.kind is kind}
    for phrasing in PHRASINGS[kind]:
        pattern = re.escape(phrasing).replace(r"\{\}", r"\w+")
        assert any(re.fullmatch(pattern, question) for question in asked)


@pytest.mark.parametrize("kind", [Kind.COUNT, Kind.DOTS, Kind.SHAPE, Kind.PAIR, Kind.TEXT])
def test_answers_are_varied(kind: Kind) -> None:
    counts = Counter(s.turns[-1].answer for s in SAMPLES if s.kind is kind)
    assert counts.most_common(1)[0][1] <= 0.6 * counts.total()


def test_samples_have_the_pictures_and_turns_of_their_kind() -> None:
    for sample in SAMPLES:
        assert len(sample.scenes) == {Kind.PAIR: 2, Kind.TEXT: 0}.get(sample.kind, 1)
        assert len(sample.turns) == (2 if sample.kind is Kind.FOLLOW_UP else 1)
        assert sample.turns[-1].kind is sample.kind


def test_files_hold_every_pixel_of_their_scenes() -> None:
    for sample in SAMPLES[: len(Kind)]:
        files = sample.files()
        assert files == [picture_file(scene) for scene in sample.scenes]
        for scene, file in zip(sample.scenes, files, strict=True):
            seen = Image.open(io.BytesIO(file))
            assert (seen.format, seen.mode) == ("PNG", "RGB")
            assert (np.asarray(seen) == np.asarray(draw_picture(scene))).all()


def digest(samples: list[Sample]) -> str:
    """Of every word and every byte."""
    return sha256(repr([(s.turns, s.files()) for s in samples]).encode()).hexdigest()


def test_equal_seeds_give_equal_bytes_in_another_process() -> None:
    script = (
        "import hashlib, itertools; from training.pictures import draw_samples;"
        "drawn = [(s.turns, s.files()) for s in itertools.islice(draw_samples(seed=3), 110)];"
        "print(hashlib.sha256(repr(drawn).encode()).hexdigest())"
    )
    root = Path(__file__).parents[2]
    there = subprocess.run(
        [sys.executable, "-c", script], cwd=root, check=True, capture_output=True, text=True
    )
    assert there.stdout.strip() == digest(SAMPLES[:110])


def test_different_seeds_give_different_samples() -> None:
    other = list(islice(draw_samples(seed=4), 220))
    pictured = [sample for sample in SAMPLES[:220] if sample.scenes]
    assert not {s.scenes for s in pictured} & {s.scenes for s in other}


def test_a_seed_never_comes_back_to_a_picture() -> None:
    drawn = [scene for sample in SAMPLES for scene in sample.scenes if scene.big_shapes]
    assert len(set(drawn)) == len(drawn)


def test_a_sample_depends_on_its_source_alone() -> None:
    first, second = (draw_sample(Kind.PAIR, random.Random("pair")) for _ in range(2))  # noqa: S311
    assert first == second
