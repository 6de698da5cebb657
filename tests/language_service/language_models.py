"""Every kind of language model that is served, small, with random weights, and its checkpoint."""

import copy
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GptOssConfig, PreTrainedConfig, PreTrainedModel, Qwen3MoeConfig

from tests.language_service.harness import CONFIG, build_model

SHAPE = {
    "vocab_size": CONFIG.vocab_size,
    "hidden_size": CONFIG.hidden_size,
    "num_hidden_layers": CONFIG.num_hidden_layers,
    "num_attention_heads": CONFIG.num_attention_heads,
    "num_key_value_heads": CONFIG.num_key_value_heads,
    "head_dim": CONFIG.head_dim,
    "max_position_embeddings": CONFIG.max_position_embeddings,
    "initializer_range": CONFIG.initializer_range,
}
QWEN3_MOE = Qwen3MoeConfig(
    **SHAPE,
    intermediate_size=128,
    moe_intermediate_size=48,
    num_experts=6,
    num_experts_per_tok=2,
    norm_topk_prob=True,
    mlp_only_layers=[1],
)
GPT_OSS = GptOssConfig(
    **SHAPE,
    intermediate_size=48,
    num_local_experts=6,
    num_experts_per_tok=2,
    sliding_window=16,
    rope_parameters={
        "rope_type": "yarn",
        "rope_theta": 150000.0,
        "factor": 4.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": 128,
    },
)
CONFIGS: dict[str, PreTrainedConfig] = {
    "qwen3": CONFIG,
    "qwen3_moe": QWEN3_MOE,
    "gpt_oss": GPT_OSS,
}


def build_language_model(
    kind: str, attention: str, vocabulary_size: int = CONFIG.vocab_size
) -> PreTrainedModel:
    """A model of one kind, the same weights every time; no bias, scale or sink is trivial."""
    config = copy.deepcopy(CONFIGS[kind])
    config.vocab_size = vocabulary_size
    return randomised(build_model(attention, config))


def randomised(model: PreTrainedModel) -> PreTrainedModel:
    """The same model with noise on all parameters that initialisation makes constant."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("sinks") or parameter.ndim == 1 or name.endswith("_bias"):
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model


def published_tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A model's weights as original checkpoints name them; Qwen's experts apart."""
    tensors: dict[str, torch.Tensor] = {}
    for parameter, tensor in model.state_dict().items():
        name = f"language_model.{parameter}"
        if model.config.model_type != "qwen3_moe" or ".mlp.experts." not in name:
            tensors[name] = tensor
            continue
        block, _, kind = name.rpartition(".")
        kinds = ("gate_proj", "up_proj") if kind == "gate_up_proj" else (kind,)
        for index, expert in enumerate(tensor):
            for part, matrix in zip(kinds, expert.chunk(len(kinds)), strict=True):
                tensors[f"{block}.{index}.{part}.weight"] = matrix
    return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}


def write_checkpoint(source: Path, model: PreTrainedModel, target: Path) -> Path:
    """Copy a checkpoint in the original layout, with another language model of equal width."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    tensors = load_file(source / "model.safetensors")
    vision = {k: v for k, v in tensors.items() if not k.startswith("language_model.")}
    save_file({**vision, **published_tensors(model)}, target / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    config["llm_config"] = model.config.to_dict()
    (target / "config.json").write_text(json.dumps(config))
    return target
