"""Loading: every layout, the right tensors, and loud errors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import InternVLForConditionalGeneration

from common.errors import CheckpointError
from common.model_config import load_model_config
from tests.edited_checkpoint import Edited
from tests.vision_service import slow_model
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO, MICRO_RMS
from vision_service.vision_model import VisionModel
from vision_service.weights import load_vision_model

CPU = torch.device("cpu")


def load(directory: Path, dtype: torch.dtype = torch.float32) -> VisionModel:
    return load_vision_model(directory, load_model_config(directory), dtype, CPU)


def with_old_prefixes(source: Path, target: Path) -> Path:
    """Copy a checkpoint of today's transformers under the names of older conversions."""
    renamed = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        old = name.removeprefix("model.")
        is_text = old.startswith("language_model.")
        renamed[old.replace("language_model.", "language_model.model.") if is_text else old] = (
            tensor
        )
    renamed["language_model.lm_head.weight"] = renamed.pop("lm_head.weight")
    save_file(renamed, target / "model.safetensors")
    for name in ("config.json", "preprocessor_config.json"):
        (target / name).write_bytes((source / name).read_bytes())
    return target


def assert_same_weights(one: VisionModel, other: VisionModel) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize("shape", [MICRO, MICRO_RMS], ids=["300M", "6B"])
def test_whole_model_equals_the_slow_model(tmp_path: Path, shape: object) -> None:
    build_checkpoint(tmp_path, CheckpointOptions(shape=shape, dtype="float32"))
    tensors = load_file(tmp_path / "model.safetensors")
    model, pixels = load(tmp_path), torch.randn(3, 3, 56, 56)
    expected = torch.stack([slow_model.encode(tensors, tile, heads=2) for tile in pixels])
    features = model.encode(pixels)
    assert (features - expected).norm() / expected.norm() < 1e-5
    scores = [slow_model.score(tensors, tile) for tile in expected]
    assert model.scores(features).tolist() == pytest.approx(scores, rel=1e-4)
    tokens = torch.cat([slow_model.project(tensors, tile, compressed=True) for tile in expected])
    error = (model.project(features, [True] * 3) - tokens).norm() / tokens.norm()
    assert error < 1e-5


def test_transformers_computes_the_same_visual_tokens(hf_model_dir: Path) -> None:
    reference = InternVLForConditionalGeneration.from_pretrained(hf_model_dir, dtype=torch.float32)
    model, pixels = load(hf_model_dir), torch.randn(3, 3, 112, 112)
    with torch.no_grad():
        expected = reference.eval().get_image_features(pixels).pooler_output.flatten(0, 1)
    tokens = model.project(model.encode(pixels), [False] * 3)
    assert (tokens - expected).norm() / expected.norm() < 1e-5


def test_all_three_layouts_give_equal_tensors(
    plain_model_dir: Path, hf_model_dir: Path, tmp_path: Path
) -> None:
    original = load(plain_model_dir)
    assert_same_weights(load(hf_model_dir), original)
    assert_same_weights(load(with_old_prefixes(hf_model_dir, tmp_path)), original)


def test_shards_give_equal_tensors(micro_dir: Path, tmp_path: Path) -> None:
    options = CheckpointOptions(shape=MICRO, dtype="float32", num_shards=3)
    build_checkpoint(tmp_path, options)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    assert_same_weights(load(tmp_path), load(micro_dir))


def test_flash_and_plain_share_all_but_the_gate(
    flash_model_dir: Path, plain_model_dir: Path
) -> None:
    flash, plain = load(flash_model_dir).state_dict(), load(plain_model_dir).state_dict()
    extra = {name.partition(".")[0] for name in flash.keys() - plain.keys()}
    assert extra == {"mlp2", "pooling_before_gating", "gating"}
    assert all(torch.equal(tensor, flash[name]) for name, tensor in plain.items())


def test_no_language_weights_are_held_and_none_can_be_trained(micro_dir: Path) -> None:
    tensors = load_file(micro_dir / "model.safetensors")
    own = sum(t.numel() for n, t in tensors.items() if not n.startswith("language_model."))
    model = load(micro_dir)
    assert sum(parameter.numel() for parameter in model.parameters()) == own
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def test_weights_take_the_wanted_type(micro_dir: Path) -> None:
    model = load(micro_dir, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.dtype == torch.bfloat16
    assert model.device == CPU


@pytest.mark.parametrize(
    "name",
    [
        "vision_model.encoder.layers.1.attn.qkv.weight",
        "mlp1.3.bias",
        "gating.block4.5.weight",
        "pooling_before_gating.attn4.in_proj_bias",
    ],
)
def test_missing_tensor_is_named(edited: Edited, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load(edited(lambda tensors: tensors.pop(name)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vision_model.encoder.layers.9.ls1", "is in model.safetensors but not in the model"),
        (
            "audio_model.conv.weight",
            "in .* belongs neither to the vision nor to the language",
        ),
    ],
)
def test_extra_tensor_is_named(edited: Edited, name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} {message}"):
        load(edited(lambda tensors: tensors.update({name: torch.zeros(2)})))


def test_misshapen_tensor_is_named_before_anything_is_read(
    edited: Edited,
) -> None:
    with pytest.raises(CheckpointError, match=r"mlp2.7.weight in .* has shape \[3, 3\]"):
        load(edited(lambda tensors: tensors.update({"mlp2.7.weight": torch.zeros(3, 3)})))
