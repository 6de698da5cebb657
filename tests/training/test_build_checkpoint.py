"""A built checkpoint has everything a published one has, and is the same every time."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, InternVLForConditionalGeneration

from common.model_config import CheckpointLayout, load_model_config
from common.model_files import fingerprint, list_tensors
from common.role_check import LOADABLE_DTYPES
from training.build_checkpoint import THRESHOLDS, CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO, MICRO_RMS, SHAPES, CheckpointShape

TRANSFORMERS = CheckpointLayout.TRANSFORMERS


def build(directory: Path, options: CheckpointOptions) -> Path:
    build_checkpoint(directory, options)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_flash_checkpoint_reads_as_a_flash_model(flash_model_dir: Path) -> None:
    config = load_model_config(flash_model_dir)
    assert config.layout is CheckpointLayout.ORIGINAL
    assert config.thresholds == THRESHOLDS
    assert config.tiling.max_tiles == 12
    assert config.tiling.use_thumbnail
    assert (config.full_tokens_per_tile, config.compressed_tokens_per_tile) == (16, 4)


def test_plain_checkpoint_has_no_thresholds(plain_model_dir: Path) -> None:
    assert load_model_config(plain_model_dir).thresholds is None


def test_both_layouts_describe_one_model(plain_model_dir: Path, hf_model_dir: Path) -> None:
    plain, hf = load_model_config(plain_model_dir), load_model_config(hf_model_dir)
    assert (plain.tiling, plain.vision, plain.text) == (hf.tiling, hf.vision, hf.text)
    assert (plain.pixel_mean, plain.pixel_std) == (hf.pixel_mean, hf.pixel_std)


def test_tiny_checkpoint_is_small(flash_model_dir: Path) -> None:
    tensors = load_file(flash_model_dir / "model.safetensors").values()
    assert 4e6 < sum(tensor.numel() for tensor in tensors) < 5e6
    assert sum(len(content) for content in contents(flash_model_dir).values()) < 20e6


def test_flash_adds_tensors_and_changes_none(flash_model_dir: Path, plain_model_dir: Path) -> None:
    flash = load_file(flash_model_dir / "model.safetensors")
    plain = load_file(plain_model_dir / "model.safetensors")
    assert all(torch.equal(flash[name], tensor) for name, tensor in plain.items())
    added = {name.split(".")[0] for name in flash.keys() - plain.keys()}
    assert added == {"mlp2", "gating", "pooling_before_gating"}


def test_equal_options_give_equal_bytes_in_another_process(tmp_path: Path) -> None:
    here = build(tmp_path / "here", CheckpointOptions(MICRO, seed=5))
    there = tmp_path / "there"
    command = [sys.executable, "-m", "training.build_checkpoint", str(there)]
    root = Path(__file__).parents[2]
    subprocess.run([*command, "--shape", "micro", "--seed", "5"], cwd=root, check=True)
    assert contents(here) == contents(there)


def test_another_seed_is_another_model(tmp_path: Path) -> None:
    first = build(tmp_path / "first", CheckpointOptions(MICRO, seed=1))
    second = build(tmp_path / "second", CheckpointOptions(MICRO, seed=2))
    assert fingerprint(first) != fingerprint(second)
    assert (first / "tokenizer.json").read_bytes() == (second / "tokenizer.json").read_bytes()


def test_shards_hold_the_tensors_of_one_file(tmp_path: Path) -> None:
    whole = build(tmp_path / "whole", CheckpointOptions(MICRO))
    shards = build(tmp_path / "shards", CheckpointOptions(MICRO, num_shards=3))
    assert len(list(shards.glob("model-*-of-00003.safetensors"))) == 3
    expected = {name: entry.shape for name, entry in list_tensors(whole).items()}
    assert {name: entry.shape for name, entry in list_tensors(shards).items()} == expected


@pytest.mark.parametrize(("dtype", "stored"), [("bfloat16", "BF16"), ("float32", "F32")])
def test_weights_are_stored_as_asked(tmp_path: Path, dtype: str, stored: str) -> None:
    directory = build(tmp_path, CheckpointOptions(MICRO, dtype=dtype))
    assert {entry.dtype for entry in list_tensors(directory).values()} == {stored}
    assert stored in LOADABLE_DTYPES


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_transformers_loads_every_tensor(tmp_path: Path, shape: CheckpointShape) -> None:
    build(tmp_path, CheckpointOptions(shape, TRANSFORMERS, flash=False))
    loaded: Any = InternVLForConditionalGeneration.from_pretrained(
        tmp_path, output_loading_info=True
    )
    model, report = loaded
    assert not any(report.values())
    assert model.dtype is torch.bfloat16
    assert not torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)


def test_rms_shape_has_the_norms_of_the_large_vision_transformer(tmp_path: Path) -> None:
    names = list_tensors(build(tmp_path, CheckpointOptions(MICRO_RMS)))
    layer = "vision_model.encoder.layers.0"
    assert f"{layer}.attn.q_norm.weight" in names
    assert f"{layer}.attn.qkv.bias" not in names
    assert f"{layer}.norm1.bias" not in names


def test_vocabulary_is_padded_beyond_the_tokenizer(flash_model_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(flash_model_dir)
    assert len(tokenizer) < load_model_config(flash_model_dir).text["vocab_size"]


def test_flash_in_the_transformers_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="no Flash"):
        CheckpointOptions(layout=TRANSFORMERS, flash=True)
