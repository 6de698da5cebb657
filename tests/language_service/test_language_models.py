"""Mixture-of-experts models load from published tensor names, and nothing is lost or swapped."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from common.errors import CheckpointError
from common.model_config import load_model_config
from language_service.weights import load_language_model
from tests.language_service.language_models import (
    CONFIGS,
    build_language_model,
    published_tensors,
    write_checkpoint,
)
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO

CPU = torch.device("cpu")
MIXTURES = ["qwen3_moe", "gpt_oss"]
EXPERT = "language_model.model.layers.0.mlp.experts"


@pytest.fixture(scope="module")
def micro_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("micro")
    build_checkpoint(directory, CheckpointOptions(shape=MICRO, dtype="float32"))
    return directory


def load(directory: Path) -> PreTrainedModel:
    return load_language_model(directory, load_model_config(directory), torch.float32, CPU)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_checkpoint_gives_the_model_that_it_was_made_of(
    kind: str, micro_dir: Path, tmp_path: Path
) -> None:
    model = build_language_model(kind, "eager")
    loaded = load(write_checkpoint(micro_dir, model, tmp_path))
    mine, theirs = loaded.state_dict(), model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    ours, rotary = loaded.model.rotary_emb, model.model.rotary_emb
    assert torch.equal(ours.inv_freq, rotary.inv_freq)
    assert ours.attention_scaling == rotary.attention_scaling


@pytest.mark.parametrize("kind", MIXTURES)
def test_published_names_are_those_that_transformers_reads(kind: str, tmp_path: Path) -> None:
    model = build_language_model(kind, "eager")
    published = published_tensors(model)
    saved = {n.removeprefix("language_model."): tensor for n, tensor in published.items()}
    save_file(saved, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.float32)
    mine, theirs = loaded.state_dict(), model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("qwen3_moe", f"{EXPERT}.5.up_proj.weight", "5.up_proj.weight is missing"),
        ("qwen3_moe", f"{EXPERT}.0.gate_proj.weight", "gate_up_proj is missing"),
        ("qwen3_moe", "language_model.model.layers.2.mlp.gate.weight", "gate.weight is missing"),
        ("gpt_oss", f"{EXPERT}.down_proj", "experts.down_proj is missing"),
        ("gpt_oss", "language_model.model.layers.1.self_attn.sinks", "sinks is missing"),
    ],
)
def test_a_missing_tensor_is_named(
    kind: str, name: str, words: str, micro_dir: Path, tmp_path: Path
) -> None:
    directory = write_checkpoint(micro_dir, build_language_model(kind, "eager"), tmp_path)
    tensors = load_file(directory / "model.safetensors")
    del tensors[name]
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(CheckpointError, match=words):
        load(directory)


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        (f"{EXPERT}.3.up_proj.weight", torch.zeros(47, 64), r"has shape \[47, 64\]"),
        (f"{EXPERT}.6.up_proj.weight", torch.zeros(48, 64), "6.up_proj.weight is in the"),
    ],
)
def test_a_wrong_expert_is_named(
    name: str, tensor: torch.Tensor, words: str, micro_dir: Path, tmp_path: Path
) -> None:
    model = build_language_model("qwen3_moe", "eager")
    directory = write_checkpoint(micro_dir, model, tmp_path)
    tensors = load_file(directory / "model.safetensors")
    save_file({**tensors, name: tensor}, directory / "model.safetensors")
    with pytest.raises(CheckpointError, match=words):
        load(directory)
