"""The JSON files of a checkpoint, in the published keys of either layout.

Nothing here decides anything: shapes, thresholds and token ids are handed in, and what is fixed
(pixel shuffle "v2", thumbnail) is fixed because the published models have it so.
"""

from dataclasses import dataclass
from typing import Any

from common.model_config import IMAGENET_MEAN, IMAGENET_STD, VisionShape
from common.resolution_rule import ResolutionThresholds
from training.checkpoint_shape import DOWNSAMPLE_RATIO, MAX_TILES, CheckpointShape, TextShape
from training.tokenizer import TokenIds

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the documents say.

    Attributes:
        shape: Of the whole model.
        thresholds: Of the visual resolution router; None without Flash.
        token_ids: From the tokenizer.
        dtype: Element type of the weights, such as `bfloat16`.
        max_tiles: Most tiles of a picture's grid.
    """

    shape: CheckpointShape
    thresholds: ResolutionThresholds | None
    token_ids: TokenIds
    dtype: str
    max_tiles: int = MAX_TILES


def original_config(facts: ModelFacts) -> Document:
    """`config.json` of the original layout (`InternVLChatModel`)."""
    config: Document = {
        "architectures": ["InternVLChatModel"],
        "model_type": "internvl_chat",
        "downsample_ratio": DOWNSAMPLE_RATIO,
        "dynamic_image_size": True,
        "eos_token_id": facts.token_ids.end_of_turn,
        "force_image_size": facts.shape.vision.tile_size,
        "max_dynamic_patch": facts.max_tiles,
        "min_dynamic_patch": 1,
        "pad2square": False,
        "pad_token_id": facts.token_ids.end_of_text,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internvl2_5",
        "tie_word_embeddings": False,
        "torch_dtype": facts.dtype,
        "use_thumbnail": True,
        "llm_config": _text_config(facts),
        "vision_config": _original_vision(facts.shape.vision),
    }
    if facts.thresholds is not None:
        config["flash_mode"] = True
        config["flash_relative_threshold"] = facts.thresholds.relative
        config["flash_absolute_threshold"] = facts.thresholds.absolute
    return config


def transformers_config(facts: ModelFacts) -> Document:
    """`config.json` of the transformers layout (`InternVLForConditionalGeneration`)."""
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "downsample_ratio": DOWNSAMPLE_RATIO,
        "dtype": facts.dtype,
        "image_seq_length": facts.shape.full_tokens_per_tile,
        "image_token_id": facts.token_ids.image_context,
        "projector_hidden_act": "gelu",
        "tie_word_embeddings": False,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "text_config": _text_config(facts),
        "vision_config": _transformers_vision(facts.shape.vision),
    }


def image_processor_config(facts: ModelFacts) -> Document:
    """`preprocessor_config.json`: how pixels are cut and normalised."""
    side = facts.shape.vision.tile_size
    return {
        "image_processor_type": "GotOcr2ImageProcessorFast",
        "processor_class": "InternVLProcessor",
        "crop_to_patches": True,
        "min_patches": 1,
        "max_patches": facts.max_tiles,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
    }


def processor_config(shape: CheckpointShape) -> Document:
    """`processor_config.json`: visual tokens of one tile."""
    return {
        "processor_class": "InternVLProcessor",
        "image_seq_length": shape.full_tokens_per_tile,
    }


def generation_config(token_ids: TokenIds) -> Document:
    """`generation_config.json`: where answers end; no sampling values, so decoding is greedy."""
    return {"eos_token_id": token_ids.end_of_turn, "pad_token_id": token_ids.end_of_text}


def _text_config(facts: ModelFacts) -> Document:
    text: TextShape = facts.shape.text
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "eos_token_id": facts.token_ids.end_of_turn,
        "head_dim": text.head_dim,
        "hidden_act": "silu",
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "max_position_embeddings": text.max_tokens,
        "num_attention_heads": text.num_heads,
        "num_hidden_layers": text.num_layers,
        "num_key_value_heads": text.num_kv_heads,
        "rms_norm_eps": text.norm_eps,
        "rope_scaling": None,
        "rope_theta": text.rope_theta,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": facts.dtype,
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": text.vocab_size,
    }


def _original_vision(vision: VisionShape) -> Document:
    return {
        "architectures": ["InternVisionModel"],
        "model_type": "intern_vit_6b",
        "attention_dropout": 0.0,
        "drop_path_rate": 0.0,
        "dropout": 0.0,
        "hidden_act": vision.activation,
        "hidden_size": vision.hidden_size,
        "image_size": vision.tile_size,
        "intermediate_size": vision.intermediate_size,
        "layer_norm_eps": vision.norm_eps,
        "norm_type": vision.norm_type,
        "num_attention_heads": vision.num_heads,
        "num_channels": 3,
        "num_hidden_layers": vision.num_layers,
        "patch_size": vision.patch_size,
        "qk_normalization": vision.qk_norm,
        "qkv_bias": vision.qkv_bias,
    }


def _transformers_vision(vision: VisionShape) -> Document:
    return {
        "architectures": ["InternVLVisionModel"],
        "model_type": "internvl_vision",
        "attention_bias": vision.qkv_bias,
        "attention_dropout": 0.0,
        "hidden_act": vision.activation,
        "hidden_dropout_prob": 0.0,
        "hidden_size": vision.hidden_size,
        "image_size": [vision.tile_size, vision.tile_size],
        "intermediate_size": vision.intermediate_size,
        "layer_norm_eps": vision.norm_eps,
        "layer_scale_init_value": 0.1,
        "norm_type": vision.norm_type,
        "num_attention_heads": vision.num_heads,
        "num_channels": 3,
        "num_hidden_layers": vision.num_layers,
        "patch_size": [vision.patch_size, vision.patch_size],
        "projection_dropout": 0.0,
        "use_absolute_position_embeddings": True,
        "use_mask_token": False,
        "use_mean_pooling": True,
        "use_qk_norm": vision.qk_norm,
    }
