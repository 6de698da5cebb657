"""What prepares vLLM: its environment's torchvision, and the file that it asks of a checkpoint."""

import json
from pathlib import Path

import pytest

from benchmarks.repair_torchvision import guarded
from benchmarks.vllm_server import VIDEO_PROCESSOR, add_video_processor, is_installed
from common.model_config import CheckpointLayout, load_model_config
from common.model_files import fingerprint
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO

SOURCE = """import torch
import torchvision.extension  # with more behind it

@torch.library.register_fake("torchvision::nms")
def meta_nms(boxes):
    return boxes
"""


def test_registrations_become_conditional() -> None:
    repaired = guarded(SOURCE)
    assert "@torch.library" not in repaired
    assert '@_register_where_built("torchvision::nms")' in repaired
    compile(repaired, "repaired", "exec")


def test_another_torchvision_is_left_alone() -> None:
    with pytest.raises(ValueError, match="another way"):
        guarded("import torch\n")


def test_an_environment_without_vllm_is_told_apart(tmp_path: Path) -> None:
    assert not is_installed(tmp_path)
    package = tmp_path / "lib/python3.11/site-packages/vllm"
    package.mkdir(parents=True)
    (package / "version.py").touch()
    assert is_installed(tmp_path)


def test_the_added_file_changes_nothing_for_us(tmp_path: Path) -> None:
    options = CheckpointOptions(shape=MICRO, flash=False, layout=CheckpointLayout.TRANSFORMERS)
    build_checkpoint(tmp_path, options)
    before = load_model_config(tmp_path), fingerprint(tmp_path)
    add_video_processor(tmp_path)
    added = json.loads((tmp_path / VIDEO_PROCESSOR).read_text(encoding="utf-8"))
    assert added["size"] == {"height": 56, "width": 56}
    assert (load_model_config(tmp_path), fingerprint(tmp_path)) == before
