"""`config.json` of the published models, in the keys of each format."""

from typing import Any

from tests.published_models import (
    PublishedFormat,
    PublishedModel,
    PublishedText,
    PublishedVision,
)

Document = dict[str, Any]


def config_document(model: PublishedModel, published_format: PublishedFormat) -> Document:
    """`config.json`."""
    if published_format is PublishedFormat.ORIGINAL:
        return _original_config(model)
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "downsample_ratio": 0.5,
        "image_seq_length": 256,
        "image_token_id": 200_021 if model.text.kind == "gpt_oss" else 151_671,
        "projector_hidden_act": "gelu",
        "torch_dtype": "bfloat16",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "text_config": _text_config(model.text),
        "vision_config": _transformers_vision(model.vision),
    }


def _original_config(model: PublishedModel) -> Document:
    code = "modeling_internvl_chat.InternVLChatModel"
    is_gpt_oss = model.text.kind == "gpt_oss"
    document: Document = {
        "architectures": ["InternVLChatModel"],
        "auto_map": {
            "AutoConfig": "configuration_internvl_chat.InternVLChatConfig",
            "AutoModel": code,
            "AutoModelForCausalLM": code,
        },
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": 448,
        "llm_config": _text_config(model.text),
        "max_dynamic_patch": 12,
        "min_dynamic_patch": 1,
        "model_type": "internvl_chat",
        "output_attentions": False,
        "pad2square": False,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internvl3_5_gpt_oss" if is_gpt_oss else "internvl2_5",
        "torch_dtype": "bfloat16",
        "use_backbone_lora": 0,
        "use_llm_lora": 0,
        "use_thumbnail": True,
        "vision_config": _original_vision(model.vision),
    }
    if model.is_flash:  # the thresholds themselves are not known to us
        document |= {
            "flash_mode": True,
            "flash_relative_threshold": 0.5,
            "flash_absolute_threshold": 0.5,
        }
    return document


def _text_config(text: PublishedText) -> Document:
    document: Document = {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151_643,
        "eos_token_id": 151_645,
        "head_dim": text.head_dim,
        "hidden_act": "silu",
        "hidden_size": text.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": text.dense_size or text.intermediate_size,
        "max_position_embeddings": 40_960,
        "max_window_layers": text.num_layers,
        "model_type": text.kind,
        "num_attention_heads": text.num_heads,
        "num_hidden_layers": text.num_layers,
        "num_key_value_heads": text.num_kv_heads,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1_000_000,
        "sliding_window": None,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "use_sliding_window": False,
        "vocab_size": text.vocab_size,
    }
    if text.kind == "qwen3_moe":
        document |= {
            "architectures": ["Qwen3MoeForCausalLM"],
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "moe_intermediate_size": text.intermediate_size,
            "norm_topk_prob": True,
            "num_experts": text.num_experts,
            "num_experts_per_tok": text.num_active,
        }
    return _gpt_oss_config(document, text) if text.kind == "gpt_oss" else document


def _gpt_oss_config(document: Document, text: PublishedText) -> Document:
    kinds = ("sliding_attention", "full_attention")
    unknown = ("bos_token_id", "max_window_layers", "use_sliding_window")
    return {key: value for key, value in document.items() if key not in unknown} | {
        "architectures": ["GptOssForCausalLM"],
        "attention_bias": True,
        "eos_token_id": 200_002,
        "experts_per_token": text.num_active,
        "initial_context_length": 4096,
        "layer_types": [kinds[layer % 2] for layer in range(text.num_layers)],
        "max_position_embeddings": 131_072,
        "num_experts_per_tok": text.num_active,
        "num_local_experts": text.num_experts,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "rope_type": "yarn",
            "truncate": False,
        },
        "rope_theta": 150_000,
        "sliding_window": 128,
        "swiglu_limit": 7.0,
    }


def _original_vision(vision: PublishedVision) -> Document:
    return {
        "architectures": ["InternVisionModel"],
        "auto_map": {
            "AutoConfig": "configuration_intern_vit.InternVisionConfig",
            "AutoModel": "modeling_intern_vit.InternVisionModel",
        },
        "hidden_act": "gelu",
        "hidden_size": vision.hidden_size,
        "image_size": 448,
        "intermediate_size": vision.intermediate_size,
        "layer_norm_eps": 1e-06,
        "model_type": "intern_vit_6b",
        "norm_type": "rms_norm" if vision.is_large else "layer_norm",
        "num_attention_heads": vision.num_heads,
        "num_channels": 3,
        "num_hidden_layers": vision.num_layers,
        "patch_size": 14,
        "qk_normalization": vision.is_large,
        "qkv_bias": not vision.is_large,
        "use_flash_attn": True,
    }


def _transformers_vision(vision: PublishedVision) -> Document:
    return {
        "architectures": ["InternVLVisionModel"],
        "attention_bias": not vision.is_large,
        "hidden_act": "gelu",
        "hidden_size": vision.hidden_size,
        "image_size": [448, 448],
        "intermediate_size": vision.intermediate_size,
        "layer_norm_eps": 1e-06,
        "layer_scale_init_value": 0.1,
        "model_type": "internvl_vision",
        "norm_type": "rms_norm" if vision.is_large else "layer_norm",
        "num_attention_heads": vision.num_heads,
        "num_hidden_layers": vision.num_layers,
        "patch_size": [14, 14],
        "use_absolute_position_embeddings": True,
        "use_mean_pooling": True,
        "use_qk_norm": vision.is_large,
    }
