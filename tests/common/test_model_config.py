"""Both published layouts, and errors that name the key."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import CheckpointError
from common.model_config import CheckpointLayout, load_model_config
from common.resolution_rule import ResolutionThresholds
from common.tiling import TilingOptions

Document = dict[str, Any]


def original() -> Document:
    """config.json of an 8B Flash model in the original layout, as far as it is read."""
    vision = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "image_size": 448,
        "patch_size": 14,
        "qkv_bias": True,
        "qk_normalization": False,
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
    }
    return {
        "model_type": "internvl_chat",
        "ps_version": "v2",
        "select_layer": -1,
        "downsample_ratio": 0.5,
        "force_image_size": 448,
        "dynamic_image_size": True,
        "min_dynamic_patch": 1,
        "max_dynamic_patch": 12,
        "use_thumbnail": True,
        "pad2square": False,
        "flash_mode": True,
        "flash_relative_threshold": 0.33,
        "flash_absolute_threshold": 0.5,
        "vision_config": vision,
        "llm_config": {"hidden_size": 4096, "max_position_embeddings": 40960},
    }


def transformers() -> Document:
    """The same model without Flash in the layout of transformers."""
    vision = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "image_size": [448, 448],
        "patch_size": [14, 14],
        "attention_bias": True,
        "use_qk_norm": False,
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "use_mean_pooling": True,
        "hidden_act": "gelu",
    }
    return {
        "model_type": "internvl",
        "downsample_ratio": 0.5,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "projector_hidden_act": "gelu",
        "vision_config": vision,
        "text_config": {"hidden_size": 4096, "max_position_embeddings": 40960},
    }


LAYOUTS = {"original": original, "transformers": transformers}


def write(directory: Path, config: Document, **others: Document) -> Path:
    for name, document in {"config": config, **others}.items():
        (directory / f"{name}.json").write_text(json.dumps(document))
    return directory


def changed(document: Document, path: str, value: object) -> Document:
    """Set a key, given as `a.b`."""
    *parents, key = path.split(".")
    inner = document
    for parent in parents:
        inner = inner[parent]
    inner[key] = value
    return document


def test_the_original_layout(tmp_path: Path) -> None:
    config = load_model_config(write(tmp_path, original()))
    assert config.layout is CheckpointLayout.ORIGINAL
    assert config.tiling == TilingOptions(448, min_tiles=1, max_tiles=12, use_thumbnail=True)
    assert config.thresholds == ResolutionThresholds(relative=0.33, absolute=0.5)
    assert config.pixel_mean == (0.485, 0.456, 0.406)
    assert (config.vision.patches_per_side, config.vision.num_patches) == (32, 1024)
    assert (config.full_tokens_per_tile, config.compressed_tokens_per_tile) == (256, 64)
    assert (config.text_hidden_size, config.max_context_tokens) == (4096, 40960)


def test_both_layouts_describe_the_same_model(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    ours = load_model_config(write(one, original()))
    theirs = load_model_config(write(other, transformers()))
    assert theirs.layout is CheckpointLayout.TRANSFORMERS
    assert theirs.thresholds is None
    for name in ("tiling", "vision", "text", "pixel_mean", "pixel_std", "downsample_ratio"):
        assert getattr(ours, name) == getattr(theirs, name), name


def test_checkpoints_that_the_project_builds_are_read(
    flash_model_dir: Path, plain_model_dir: Path, hf_model_dir: Path
) -> None:
    flash, plain = load_model_config(flash_model_dir), load_model_config(plain_model_dir)
    assert flash.thresholds is not None
    assert plain.thresholds is None
    assert load_model_config(hf_model_dir).vision == plain.vision == flash.vision


@pytest.mark.parametrize(
    ("key", "value", "tiling"),
    [
        ("dynamic_image_size", False, TilingOptions(448, 1, 1, True)),
        ("max_dynamic_patch", 6, TilingOptions(448, 1, 6, True)),
        ("use_thumbnail", False, TilingOptions(448, 1, 12, False)),
    ],
)
def test_tiling_comes_from_the_file(
    tmp_path: Path, key: str, value: object, tiling: TilingOptions
) -> None:
    assert load_model_config(write(tmp_path, changed(original(), key, value))).tiling == tiling


@pytest.mark.parametrize("file", ["preprocessor_config", "processor_config"])
def test_the_image_processor_of_transformers_may_stand_alone_or_inside(
    tmp_path: Path, file: str
) -> None:
    settings = {"max_patches": 6, "min_patches": 2, "image_mean": [0.5, 0.5, 0.5]}
    document = settings if file == "preprocessor_config" else {"image_processor": settings}
    config = load_model_config(write(tmp_path, transformers(), **{file: document}))
    assert config.tiling == TilingOptions(448, min_tiles=2, max_tiles=6, use_thumbnail=True)
    assert config.pixel_mean == (0.5, 0.5, 0.5)


def test_without_flash_mode_the_thresholds_are_not_asked_for(tmp_path: Path) -> None:
    config = original()
    for key in ("flash_mode", "flash_relative_threshold", "flash_absolute_threshold"):
        del config[key]
    assert load_model_config(write(tmp_path, config)).thresholds is None


def test_an_absent_select_layer_is_the_last(tmp_path: Path) -> None:
    config = original()
    del config["select_layer"]
    assert load_model_config(write(tmp_path, config)).vision.num_layers == 24


@pytest.mark.parametrize(
    ("layout", "key"),
    [
        ("original", "vision_config"),
        ("original", "llm_config"),
        ("original", "downsample_ratio"),
        ("original", "use_thumbnail"),
        ("original", "max_dynamic_patch"),
        ("original", "flash_relative_threshold"),
        ("transformers", "vision_config"),
        ("transformers", "text_config"),
    ],
)
def test_a_missing_key_is_named(tmp_path: Path, layout: str, key: str) -> None:
    config = LAYOUTS[layout]()
    del config[key]
    with pytest.raises(CheckpointError, match=f"lacks the key '{key}'"):
        load_model_config(write(tmp_path, config))


@pytest.mark.parametrize(
    ("layout", "path", "value"),
    [
        ("original", "ps_version", "v1"),
        ("original", "select_layer", -4),
        ("original", "pad2square", True),
        ("original", "force_image_size", 224),
        ("original", "flash_relative_threshold", 1.5),
        ("original", "flash_absolute_threshold", -0.1),
        ("original", "downsample_ratio", 0.3),
        ("original", "vision_config.norm_type", "batch_norm"),
        ("original", "vision_config.hidden_act", "relu"),
        ("original", "vision_config.num_attention_heads", 15),
        ("original", "vision_config.patch_size", 15),
        ("transformers", "vision_feature_layer", -2),
        ("transformers", "vision_feature_select_strategy", "full"),
        ("transformers", "projector_hidden_act", "relu"),
        ("transformers", "vision_config.use_mean_pooling", False),
        ("transformers", "vision_config.image_size", [448, 224]),
    ],
)
def test_what_is_not_supported_is_named(
    tmp_path: Path, layout: str, path: str, value: object
) -> None:
    directory = write(tmp_path, changed(LAYOUTS[layout](), path, value))
    with pytest.raises(CheckpointError, match=path.rpartition(".")[2]):
        load_model_config(directory)


def test_a_gate_needs_patches_that_fold_twice(tmp_path: Path) -> None:
    config = original()
    config["force_image_size"] = config["vision_config"]["image_size"] = 14 * 6
    with pytest.raises(CheckpointError, match="downsample_ratio"):
        load_model_config(write(tmp_path, config))
    config["flash_mode"] = False
    assert load_model_config(write(tmp_path, config)).full_tokens_per_tile == 9


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [None, "x", [], 0])
@pytest.mark.parametrize("path", ["vision_config", "downsample_ratio", "vision_config.patch_size"])
def test_a_value_of_the_wrong_type_is_a_checkpoint_error(
    tmp_path: Path, layout: str, path: str, value: object
) -> None:
    directory = write(tmp_path, changed(LAYOUTS[layout](), path, value))
    with pytest.raises(CheckpointError):
        load_model_config(directory)


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'llava'"):
        load_model_config(write(tmp_path, {"model_type": "llava"}))


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a model directory"):
        load_model_config(tmp_path)


def test_code_of_a_known_model_is_left_alone(tmp_path: Path) -> None:
    plain = load_model_config(write(tmp_path, original()))
    mapped = original() | {"auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"}}
    mapped["vision_config"]["auto_map"] = {"AutoModel": "modeling_intern_vit.InternVisionModel"}
    assert load_model_config(write(tmp_path, mapped)) == plain


def test_a_model_that_needs_its_own_code_is_refused_with_the_reason(tmp_path: Path) -> None:
    document = {"model_type": "internvl_next", "auto_map": {"AutoModel": "modeling_next.Next"}}
    with pytest.raises(CheckpointError, match=r"'internvl_next'.*modeling_next\.Next.*never run"):
        load_model_config(write(tmp_path, document))


@pytest.mark.parametrize(
    ("layout", "part"),
    [
        ("original", None),
        ("original", "llm_config"),
        ("transformers", None),
        ("transformers", "text_config"),
    ],
)
def test_quantised_weights_are_refused_by_name(
    tmp_path: Path, layout: str, part: str | None
) -> None:
    document = LAYOUTS[layout]()
    (document if part is None else document[part])["quantization_config"] = {
        "quant_method": "mxfp4"
    }
    with pytest.raises(CheckpointError, match="quantised by 'mxfp4'"):
        load_model_config(write(tmp_path, document))
