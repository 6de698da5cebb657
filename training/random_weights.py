"""Random tensors for every part of a checkpoint, by their published names.

Each tensor has a random source of its own, seeded by the checkpoint's seed and the tensor's name:
leaving out the Flash parts changes nothing in the rest. Gains are chosen so that signals keep
their size through every layer and attention matters; a bias or scale is never trivial, so that
leaving one out shows.
"""

import hashlib
import math

import torch

from training.checkpoint_shape import CheckpointShape, TextShape
from training.tokenizer import NUM_BYTE_TOKENS, TokenIds

POSITION_STD = 0.5


class RandomWeights:
    """Draws tensors and keeps them by name.

    Attributes:
        tensors: What has been drawn, float32.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.tensors: dict[str, torch.Tensor] = {}

    def draw(self, name: str, shape: tuple[int, ...], std: float, mean: float = 0.0) -> None:
        """Draw one tensor of normally distributed values."""
        digest = hashlib.blake2b(f"{self._seed} {name}".encode(), digest_size=8).digest()
        source = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
        self.tensors[name] = torch.randn(shape, generator=source) * std + mean

    def linear(
        self, name: str, shape: tuple[int, int], gain: float = 1.0, bias: bool = True
    ) -> None:
        """Draw a matrix [out, in] that multiplies the size of white noise by `gain`."""
        self.draw(f"{name}.weight", shape, std=gain / math.sqrt(shape[1]))
        if bias:
            self.draw(f"{name}.bias", shape[:1], std=0.1)

    def norm(self, name: str, width: int, bias: bool = True, scale: float = 1.0) -> None:
        """Draw the scale, and the shift where there is one, of a normalisation."""
        self.draw(f"{name}.weight", (width,), std=0.1 * scale, mean=scale)
        if bias:
            self.draw(f"{name}.bias", (width,), std=0.1)


def draw_vision(weights: RandomWeights, shape: CheckpointShape) -> None:
    """Draw the vision transformer and the projector for full resolution."""
    vision, width = shape.vision, shape.vision.hidden_size
    prefix = "vision_model.embeddings"
    weights.draw(f"{prefix}.class_embedding", (1, 1, width), std=1.0)
    position_shape = (1, vision.num_patches + 1, width)
    weights.draw(f"{prefix}.position_embedding", position_shape, std=POSITION_STD)
    patch_shape = (width, 3, vision.patch_size, vision.patch_size)
    patch_std = 1.0 / math.sqrt(math.prod(patch_shape[1:]))
    weights.draw(f"{prefix}.patch_embedding.weight", patch_shape, std=patch_std)
    weights.draw(f"{prefix}.patch_embedding.bias", (width,), std=0.1)
    layer_bias = vision.norm_type == "layer_norm"
    for index in range(vision.num_layers):
        layer = f"vision_model.encoder.layers.{index}"
        weights.norm(f"{layer}.norm1", width, bias=layer_bias)
        weights.linear(f"{layer}.attn.qkv", (3 * width, width), bias=vision.qkv_bias)
        if vision.qk_norm:
            weights.norm(f"{layer}.attn.q_norm", width, bias=False)
            weights.norm(f"{layer}.attn.k_norm", width, bias=False)
        weights.linear(f"{layer}.attn.proj", (width, width))
        weights.norm(f"{layer}.norm2", width, bias=layer_bias)
        weights.linear(f"{layer}.mlp.fc1", (vision.intermediate_size, width))
        weights.linear(f"{layer}.mlp.fc2", (width, vision.intermediate_size))
        weights.draw(f"{layer}.ls1", (width,), std=0.1, mean=1.0)
        weights.draw(f"{layer}.ls2", (width,), std=0.1, mean=1.0)
    text_width = shape.text.hidden_size
    weights.norm("mlp1.0", 4 * width)
    weights.linear("mlp1.1", (text_width, 4 * width), gain=1.5)
    weights.linear("mlp1.3", (text_width, text_width), gain=1.5)


def draw_flash(weights: RandomWeights, shape: CheckpointShape) -> None:
    """Draw the projector for compressed tiles, the gate's pooling and the gate."""
    width, text_width = shape.vision.hidden_size, shape.text.hidden_size
    weights.norm("mlp2.0", 16 * width)
    weights.linear("mlp2.1", (2 * text_width, 16 * width), gain=1.5)
    weights.linear("mlp2.4", (2 * text_width, 2 * text_width), gain=1.5)
    weights.linear("mlp2.7", (text_width, 2 * text_width), gain=1.5)
    pooling = "pooling_before_gating"
    weights.draw(f"{pooling}.query_token", (1, width), std=1.0)
    for index in range(1, 5):
        attention = f"{pooling}.attn{index}"
        weights.draw(f"{attention}.in_proj_weight", (3 * width, width), std=1 / math.sqrt(width))
        weights.draw(f"{attention}.in_proj_bias", (3 * width,), std=0.1)
        weights.linear(f"{attention}.out_proj", (width, width))
        weights.norm(f"{pooling}.norm{index}", width)
        block = f"gating.block{index}"
        weights.linear(f"{block}.0", (4 * width, width))
        weights.linear(f"{block}.3", (width, 4 * width))
        weights.norm(f"{block}.5", width)
    weights.norm("gating.gate.0", width)
    weights.linear("gating.gate.1", (2, width))


def draw_language(weights: RandomWeights, text: TextShape, ids: TokenIds) -> None:
    """Draw the language model; attention is sharp and loud, so that answers do not circle."""
    model = "language_model.model"
    width, query_width = text.hidden_size, text.num_heads * text.head_dim
    kv_width = text.num_kv_heads * text.head_dim
    weights.draw(f"{model}.embed_tokens.weight", (text.vocab_size, width), std=0.5)
    for index in range(text.num_layers):
        layer = f"{model}.layers.{index}"
        weights.norm(f"{layer}.input_layernorm", width, bias=False)
        weights.linear(f"{layer}.self_attn.q_proj", (query_width, width), bias=False)
        weights.linear(f"{layer}.self_attn.k_proj", (kv_width, width), bias=False)
        weights.linear(f"{layer}.self_attn.v_proj", (kv_width, width), bias=False)
        weights.linear(f"{layer}.self_attn.o_proj", (width, query_width), gain=2.0, bias=False)
        weights.norm(f"{layer}.self_attn.q_norm", text.head_dim, bias=False, scale=2.0)
        weights.norm(f"{layer}.self_attn.k_norm", text.head_dim, bias=False, scale=2.0)
        weights.norm(f"{layer}.post_attention_layernorm", width, bias=False)
        weights.linear(f"{layer}.mlp.gate_proj", (text.intermediate_size, width), bias=False)
        weights.linear(f"{layer}.mlp.up_proj", (text.intermediate_size, width), bias=False)
        weights.linear(f"{layer}.mlp.down_proj", (width, text.intermediate_size), bias=False)
    weights.norm(f"{model}.norm", width, bias=False)
    weights.linear("language_model.lm_head", (text.vocab_size, width), gain=3.0, bias=False)
    _favour_words(weights.tensors["language_model.lm_head.weight"], ids)


def _favour_words(head: torch.Tensor, ids: TokenIds) -> None:
    """Make single bytes rare, special tokens and padding unheard of, and some answers end."""
    head[:NUM_BYTE_TOKENS] *= 0.8
    head[ids.end_of_text :] *= 0.2
    head[ids.end_of_turn] *= 7.0
