"""Models in published shapes with random weights, made on the device; no file is read.

`tiny` only shows that the programs run. Weights are drawn once and never zero: products of zeros
are faster than those of numbers.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from common.model_config import CheckpointLayout, ModelConfig, VisionShape
from common.resolution_rule import ResolutionThresholds
from common.tiling import TilingOptions
from vision_service.vision_model import VisionModel


@dataclass(frozen=True, slots=True)
class GpuShape:
    """Everything that is measured of one size.

    Attributes:
        name: Of the size.
        text: Of the language model.
        vision: Of the vision transformer.
        prompt: Tokens of the prompt whose prefill is timed.
        context: Tokens of the prompts whose answers are timed.
        answer: Tokens of those answers.
        tiles: Of one pass of the vision transformer.
    """

    name: str
    text: Qwen3Config
    vision: VisionShape
    prompt: int = 4096
    context: int = 512
    answer: int = 128
    tiles: int = 64


def _text(width: int, layers: int, heads: int, feed_forward: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=151_936,
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40_960,
        tie_word_embeddings=False,
        eos_token_id=None,
        pad_token_id=0,
    )


def _vision(width: int, layers: int, heads: int, tile_size: int) -> VisionShape:
    return VisionShape(
        hidden_size=width, num_layers=layers, num_heads=heads, intermediate_size=4 * width,
        tile_size=tile_size, patch_size=14, qkv_bias=True, qk_norm=False,
        norm_type="layer_norm", norm_eps=1e-6, activation="gelu",
    )  # fmt: skip


VIT_300M = _vision(1024, 24, 16, 448)
TINY_TEXT = Qwen3Config(
    vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=512,
    tie_word_embeddings=False, eos_token_id=None, pad_token_id=0,
)  # fmt: skip
SHAPES = {
    "tiny": GpuShape("tiny", TINY_TEXT, _vision(64, 2, 16, 56), 96, 24, 8, 4),
    "1B": GpuShape("1B", _text(1024, 28, 16, 3072), VIT_300M),
    "8B": GpuShape("8B", _text(4096, 36, 32, 12_288), VIT_300M),
}


def language_model(shape: GpuShape, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """A causal language model with random weights."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Qwen3ForCausalLM(shape.text)
    finally:
        torch.set_default_dtype(default)
    model.generation_config.eos_token_id = None
    return model.requires_grad_(False).train(False)


def vision_model(shape: GpuShape, dtype: torch.dtype, device: torch.device) -> VisionModel:
    """A Flash model's vision half with random weights."""
    with torch.device("meta"):
        model = VisionModel(model_config(shape))
    model = model.to_empty(device=device).to(dtype)
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    return model.requires_grad_(False).eval()


def model_config(shape: GpuShape) -> ModelConfig:
    """What a checkpoint of the shape would say of itself."""
    return ModelConfig(
        layout=CheckpointLayout.ORIGINAL,
        tiling=TilingOptions(shape.vision.tile_size, 1, 12, use_thumbnail=True),
        pixel_mean=(0.5, 0.5, 0.5),
        pixel_std=(0.5, 0.5, 0.5),
        vision=shape.vision,
        text=shape.text.to_dict(),
        downsample_ratio=0.5,
        thresholds=ResolutionThresholds(0.5, 0.0),
    )


def prefill_flops(shape: GpuShape, num_tokens: int) -> float:
    """Floating-point operations of a prompt; the head makes one row only."""
    text = shape.text
    attention = text.hidden_size * text.head_dim * 2 * (
        text.num_attention_heads + text.num_key_value_heads
    )  # fmt: skip
    layer = attention + 3 * text.hidden_size * text.intermediate_size
    products = 2 * text.num_hidden_layers * layer * num_tokens
    # Scores and mixing, half of them hidden from the past.
    width = text.num_attention_heads * text.head_dim
    return products + 2 * text.num_hidden_layers * width * num_tokens**2


def vit_flops(shape: GpuShape, num_tiles: int) -> float:
    """Floating-point operations of the vision transformer."""
    vision = shape.vision
    rows = vision.num_patches + 1
    layer = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
    patches = 3 * vision.patch_size**2 * vision.hidden_size * vision.num_patches
    attention = 2 * vision.num_layers * vision.hidden_size * rows**2
    return 2.0 * num_tiles * (vision.num_layers * layer * rows + patches + attention)


def bytes_of_a_token(shape: GpuShape, model: PreTrainedModel, num_past: int) -> int:
    """Bytes that a decode step at batch 1 must read: all weights but the table of embeddings."""
    weights = sum(each.numel() * each.element_size() for each in model.parameters())
    table = model.get_input_embeddings().weight
    text = shape.text
    keys = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * num_past
    return int(weights - (table.numel() - text.hidden_size - keys) * table.element_size())
