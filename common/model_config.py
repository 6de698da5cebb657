"""A checkpoint's configuration files, read into one typed value; no torch.

Two layouts are published: the original one (`InternVLChatModel`, with `vision_config`,
`llm_config` and, for Flash, `flash_*` keys) and the one of transformers
(`InternVLForConditionalGeneration`). Every size, count and threshold in the system comes from here.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from common.errors import CheckpointError
from common.json_file import Json, read_json
from common.resolution_rule import ResolutionThresholds
from common.tiling import TilingOptions

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class CheckpointLayout(StrEnum):
    """How configuration and tensors are named."""

    ORIGINAL = "original"
    TRANSFORMERS = "transformers"


@dataclass(frozen=True, slots=True)
class VisionShape:
    """Shape of the vision transformer.

    Attributes:
        tile_size: Side of its square input in pixels.
        patch_size: Side of a patch in pixels.
        norm_type: `layer_norm` or `rms_norm`.
    """

    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    tile_size: int
    patch_size: int
    qkv_bias: bool
    qk_norm: bool
    norm_type: str
    norm_eps: float
    activation: str

    @property
    def patches_per_side(self) -> int:
        """Patches along one side of a tile."""
        return self.tile_size // self.patch_size

    @property
    def num_patches(self) -> int:
        """Tokens of the vision transformer for one tile, CLS not counted."""
        return self.patches_per_side**2


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything about a checkpoint that is not a tensor.

    Attributes:
        layout: How its files are named.
        tiling: How pictures are cut.
        pixel_mean: Per channel, of pixels in 0..1.
        pixel_std: Per channel.
        vision: Shape of the vision transformer.
        text: The language model's own configuration document, as transformers reads it.
        downsample_ratio: Side ratio of the full-resolution pixel shuffle.
        thresholds: Of the visual resolution router; None without one.
    """

    layout: CheckpointLayout
    tiling: TilingOptions
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    vision: VisionShape
    text: Json
    downsample_ratio: float
    thresholds: ResolutionThresholds | None

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built.

        Raises:
            CheckpointError: Names the key.
        """
        vision, side = self.vision, self.vision.patches_per_side
        known_norm = vision.norm_type in ("layer_norm", "rms_norm")
        _require(known_norm, "norm_type", vision.norm_type, "'layer_norm' or 'rms_norm'")
        _require(vision.activation == "gelu", "hidden_act", vision.activation, "'gelu'")
        _require(
            vision.hidden_size % vision.num_heads == 0, "num_attention_heads", vision.num_heads,
            f"a divisor of hidden_size {vision.hidden_size}",
        )  # fmt: skip
        _require(
            vision.tile_size % vision.patch_size == 0, "patch_size", vision.patch_size,
            f"a divisor of image_size {vision.tile_size}",
        )  # fmt: skip
        factor = 1 / self.downsample_ratio
        coarsest = factor if self.thresholds is None else 2 * factor
        _require(
            factor.is_integer() and side % coarsest == 0, "downsample_ratio", self.downsample_ratio,
            f"1 / n, such that the projectors divide {side} patches a side",
        )  # fmt: skip

    @property
    def text_hidden_size(self) -> int:
        """Width of one visual token."""
        return int(self.text["hidden_size"])

    @property
    def max_context_tokens(self) -> int:
        """Longest prompt and answer together."""
        return int(self.text["max_position_embeddings"])

    @property
    def full_tokens_per_tile(self) -> int:
        """Visual tokens of a tile at full resolution (256 in the published models)."""
        return int(self.vision.patches_per_side * self.downsample_ratio) ** 2

    @property
    def compressed_tokens_per_tile(self) -> int:
        """Visual tokens of a compressed tile (64 in the published models)."""
        return int(self.vision.patches_per_side * self.downsample_ratio / 2) ** 2


def load_model_config(directory: Path) -> ModelConfig:
    """Read the configuration of a checkpoint directory.

    Raises:
        CheckpointError: A file or key is missing, or describes an unsupported model.
    """
    config = read_json(directory / "config.json")
    if config is None:
        raise CheckpointError(f"{directory} holds no config.json: not a model directory.")
    try:
        _refuse_quantised(config)
        if config.get("model_type") == "internvl_chat":
            return _original(config, read_json(directory / "preprocessor_config.json") or {})
        if config.get("model_type") == "internvl":
            return _transformers(config, _image_processor(directory))
    except KeyError as missing:
        raise CheckpointError(f"config.json lacks the key {missing}.") from missing
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as cause:
        raise CheckpointError("config.json holds a value of the wrong type.") from cause
    raise CheckpointError(_unknown_model(config))


def _unknown_model(config: Json) -> str:
    code = config.get("auto_map")
    needs = ""
    if code:
        names = sorted(map(str, code.values())) if isinstance(code, dict) else [str(code)]
        needs = f", which needs the code that auto_map names ({names[0]}); such code is never run"
    return (
        f"config.json has model_type {config.get('model_type')!r}{needs}; "
        "supported are 'internvl_chat' and 'internvl'."
    )


def _refuse_quantised(config: Json) -> None:
    for part in (config, config.get("llm_config"), config.get("text_config")):
        if part and (how := part.get("quantization_config")):
            raise CheckpointError(
                f"The checkpoint is quantised by {how.get('quant_method')!r}; "
                "only weights in float32, bfloat16 and float16 are served."
            )


def _original(config: Json, processor: Json) -> ModelConfig:
    vision = config["vision_config"]
    _require(config.get("ps_version") == "v2", "ps_version", config.get("ps_version"), "'v2'")
    layer = config.get("select_layer", -1)
    _require(layer == -1, "select_layer", layer, "-1")
    _require(not config.get("pad2square", False), "pad2square", True, "false")
    shape = VisionShape(
        hidden_size=vision["hidden_size"],
        num_layers=vision["num_hidden_layers"],
        num_heads=vision["num_attention_heads"],
        intermediate_size=vision["intermediate_size"],
        tile_size=config.get("force_image_size") or vision["image_size"],
        patch_size=vision["patch_size"],
        qkv_bias=vision["qkv_bias"],
        qk_norm=vision["qk_normalization"],
        norm_type=vision["norm_type"],
        norm_eps=vision.get("layer_norm_eps", 1e-6),
        activation=vision.get("hidden_act", "gelu"),
    )
    _require(
        vision["image_size"] == shape.tile_size, "force_image_size", shape.tile_size,
        f"vision_config.image_size {vision['image_size']}",
    )  # fmt: skip
    thresholds = None
    if config.get("flash_mode", False):
        thresholds = ResolutionThresholds(
            relative=_fraction(config, "flash_relative_threshold"),
            absolute=_fraction(config, "flash_absolute_threshold"),
        )
    dynamic = config.get("dynamic_image_size", False)
    return ModelConfig(
        layout=CheckpointLayout.ORIGINAL,
        tiling=TilingOptions(
            tile_size=shape.tile_size,
            min_tiles=config["min_dynamic_patch"] if dynamic else 1,
            max_tiles=config["max_dynamic_patch"] if dynamic else 1,
            use_thumbnail=config["use_thumbnail"],
        ),
        pixel_mean=_triple(processor.get("image_mean", IMAGENET_MEAN)),
        pixel_std=_triple(processor.get("image_std", IMAGENET_STD)),
        vision=shape,
        text=config["llm_config"],
        downsample_ratio=config["downsample_ratio"],
        thresholds=thresholds,
    )


def _transformers(config: Json, processor: Json) -> ModelConfig:
    vision = config["vision_config"]
    layer = config.get("vision_feature_layer", -1)
    _require(layer == -1, "vision_feature_layer", layer, "-1")
    strategy = config.get("vision_feature_select_strategy", "default")
    _require(strategy == "default", "vision_feature_select_strategy", strategy, "'default'")
    mean_pooling = vision.get("use_mean_pooling", True)
    _require(mean_pooling, "vision_config.use_mean_pooling", mean_pooling, "true")
    activation = config.get("projector_hidden_act", "gelu")
    _require(activation == "gelu", "projector_hidden_act", activation, "'gelu'")
    shape = VisionShape(
        hidden_size=vision["hidden_size"],
        num_layers=vision["num_hidden_layers"],
        num_heads=vision["num_attention_heads"],
        intermediate_size=vision["intermediate_size"],
        tile_size=_side(vision["image_size"]),
        patch_size=_side(vision["patch_size"]),
        qkv_bias=vision["attention_bias"],
        qk_norm=vision.get("use_qk_norm", False),
        norm_type=vision.get("norm_type", "layer_norm"),
        norm_eps=vision.get("layer_norm_eps", 1e-6),
        activation=vision.get("hidden_act", "gelu"),
    )
    return ModelConfig(
        layout=CheckpointLayout.TRANSFORMERS,
        tiling=TilingOptions(
            tile_size=shape.tile_size,
            min_tiles=processor.get("min_patches", 1),
            max_tiles=processor.get("max_patches", 12),
            use_thumbnail=processor.get("use_thumbnail", True),
        ),
        pixel_mean=_triple(processor.get("image_mean", IMAGENET_MEAN)),
        pixel_std=_triple(processor.get("image_std", IMAGENET_STD)),
        vision=shape,
        text=config["text_config"],
        downsample_ratio=config.get("downsample_ratio", 0.5),
        thresholds=None,
    )


def _image_processor(directory: Path) -> Json:
    """Read the image processor's settings: a file of its own, or a part of the processor's."""
    whole = read_json(directory / "processor_config.json") or {}
    own = read_json(directory / "preprocessor_config.json")
    return own if own is not None else whole.get("image_processor", {})


def _require(holds: bool, key: str, value: object, wanted: str) -> None:
    if not holds:
        raise CheckpointError(f"config.json has {key} = {value!r}; supported is {wanted}.")


def _fraction(config: Json, key: str) -> float:
    value = float(config[key])
    _require(0.0 <= value <= 1.0, key, value, "a number from 0 to 1")
    return value


def _side(value: int | list[int]) -> int:
    if isinstance(value, int):
        return value
    height, width = value
    _require(height == width, "image_size or patch_size", value, "a square")
    return height


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return (red, green, blue)
