"""Checkpoints whose tiler stops where the pictures of training do."""

import shutil
from pathlib import Path

import pytest

from training.build_checkpoint import THRESHOLDS, CheckpointOptions, build_checkpoint
from training.trainable_model import write_surroundings, write_untrained


@pytest.fixture(scope="session")
def untrained_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training starts from."""
    directory = tmp_path_factory.mktemp("untrained")
    write_untrained(directory, seed=0)
    return directory


@pytest.fixture(scope="session")
def lively_dir(flash_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with sharp attention: a token more or less changes every logit."""
    directory = tmp_path_factory.mktemp("lively") / "model"
    shutil.copytree(flash_model_dir, directory)
    write_surroundings(directory, "float32", THRESHOLDS)
    return directory


@pytest.fixture(scope="session")
def other_lively_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other weights of the same kind."""
    directory = tmp_path_factory.mktemp("other_lively")
    build_checkpoint(directory, CheckpointOptions(dtype="float32", seed=1))
    write_surroundings(directory, "float32", THRESHOLDS)
    return directory
