"""What all tests share: small checkpoints with random weights, built once per session."""

from functools import partial
from pathlib import Path

import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from common.model_config import CheckpointLayout
from deploy.config import RayConfig
from deploy.ray_environment import prepare_ray
from tests.edited_checkpoint import Edited, edited_copy
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO

prepare_ray(RayConfig())  # before any test imports Ray
torch.set_num_threads(1)  # tiny tensors gain nothing from more, and other tests share the machine

STARTS_CLUSTERS = ("tests/end_to_end/", "tests/deploy/test_placement.py")


class OneClusterAtATime(LoadFileScheduling):
    """Gives tests to processes file by file, and all that start Ray clusters to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        return "clusters" if nodeid.startswith(STARTS_CLUSTERS) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneClusterAtATime:
    """Where tests run in several processes."""
    return OneClusterAtATime(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In several processes clusters come first: they take longest, and mostly wait."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(STARTS_CLUSTERS))


@pytest.fixture(scope="session")
def flash_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Flash checkpoint in the original layout, float32."""
    directory = tmp_path_factory.mktemp("flash_model")
    build_checkpoint(directory, CheckpointOptions(dtype="float32"))
    return directory


@pytest.fixture(scope="session")
def plain_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights without the Flash parts, original layout, float32."""
    directory = tmp_path_factory.mktemp("plain_model")
    build_checkpoint(directory, CheckpointOptions(dtype="float32", flash=False))
    return directory


@pytest.fixture(scope="session")
def hf_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of `plain_model_dir` in the layout of transformers, float32."""
    directory = tmp_path_factory.mktemp("hf_model")
    layout = CheckpointLayout.TRANSFORMERS
    build_checkpoint(directory, CheckpointOptions(dtype="float32", flash=False, layout=layout))
    return directory


@pytest.fixture(scope="session")
def micro_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Flash checkpoint of the smallest shape, original layout, float32, in one file."""
    directory = tmp_path_factory.mktemp("micro")
    build_checkpoint(directory, CheckpointOptions(shape=MICRO, dtype="float32"))
    return directory


@pytest.fixture
def edited(micro_dir: Path, tmp_path: Path) -> Edited:
    """Makes a copy of it with some tensors changed."""
    return partial(edited_copy, micro_dir, tmp_path)
