"""Every tensor of a published checkpoint by the published naming rules: name, type and shape.

The rules are written out once for the original names; the other formats follow from the published
converter's rules, applied name by name. Nothing here knows how our loaders read them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from tests.published_models import (
    PublishedFormat,
    PublishedModel,
    PublishedText,
    PublishedVision,
)

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]

PATCHES = 32 * 32
TRANSFORMERS_VISION = (
    ("vision_model.", "vision_tower."),
    ("class_embedding", "cls_token"),
    ("position_embedding", "position_embeddings"),
    ("patch_embedding.", "patch_embeddings.projection."),
    ("encoder.layers.", "encoder.layer."),
    ("attn.proj.", "attention.projection_layer."),
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
    (".ls1", ".lambda_1"),
    (".ls2", ".lambda_2"),
)
TRANSFORMERS_PROJECTOR = {"0": "layer_norm", "1": "linear_1", "3": "linear_2"}


@dataclass(frozen=True)
class PublishedTensor:
    """One line of a safetensors header."""

    name: str
    shape: Shape
    dtype: str = "BF16"

    @property
    def num_elements(self) -> int:
        return prod(self.shape)


def published_tensors(
    model: PublishedModel, published_format: PublishedFormat
) -> tuple[PublishedTensor, ...]:
    """All tensors of a model in one format; vision first, as in the files."""
    if published_format is PublishedFormat.ORIGINAL:
        return tuple(PublishedTensor(name, shape) for name, shape in _original(model))
    return tuple(
        PublishedTensor(new, part)
        for name, shape in _original(model)
        for new, part in _converted(name, shape, published_format)
    )


def _original(model: PublishedModel) -> Named:
    vision, text = model.vision, model.text
    width, hidden = vision.hidden_size, text.hidden_size
    yield from _vision(vision)
    yield from _affine("mlp1.0", (4 * width,))
    yield from _affine("mlp1.1", (hidden, 4 * width))
    yield from _affine("mlp1.3", (hidden, hidden))
    if model.is_flash:
        yield from _affine("mlp2.0", (16 * width,))
        yield from _affine("mlp2.1", (2 * hidden, 16 * width))
        yield from _affine("mlp2.4", (2 * hidden, 2 * hidden))
        yield from _affine("mlp2.7", (hidden, 2 * hidden))
        yield from _gate(width)
    yield from _language(text)


def _affine(stem: str, shape: Shape) -> Named:
    yield f"{stem}.weight", shape
    yield f"{stem}.bias", shape[:1]


def _vision(vision: PublishedVision) -> Named:
    width, mlp = vision.hidden_size, vision.intermediate_size
    yield "vision_model.embeddings.class_embedding", (1, 1, width)
    yield "vision_model.embeddings.position_embedding", (1, PATCHES + 1, width)
    yield from _affine("vision_model.embeddings.patch_embedding", (width, 3, 14, 14))
    for layer in range(vision.num_layers):
        stem = f"vision_model.encoder.layers.{layer}"
        yield f"{stem}.ls1", (width,)
        yield f"{stem}.ls2", (width,)
        yield f"{stem}.attn.qkv.weight", (3 * width, width)
        if not vision.is_large:
            yield f"{stem}.attn.qkv.bias", (3 * width,)
        yield from _affine(f"{stem}.attn.proj", (width, width))
        yield from _affine(f"{stem}.mlp.fc1", (mlp, width))
        yield from _affine(f"{stem}.mlp.fc2", (width, mlp))
        for norm in ("norm1", "norm2"):
            yield f"{stem}.{norm}.weight", (width,)
            if not vision.is_large:
                yield f"{stem}.{norm}.bias", (width,)
        if vision.is_large:
            yield f"{stem}.attn.q_norm.weight", (width,)
            yield f"{stem}.attn.k_norm.weight", (width,)


def _gate(width: int) -> Named:
    yield "pooling_before_gating.query_token", (1, width)
    for round_number in range(1, 5):
        attention = f"pooling_before_gating.attn{round_number}"
        yield f"{attention}.in_proj_weight", (3 * width, width)
        yield f"{attention}.in_proj_bias", (3 * width,)
        yield from _affine(f"{attention}.out_proj", (width, width))
        yield from _affine(f"pooling_before_gating.norm{round_number}", (width,))
    for block in range(1, 5):
        yield from _affine(f"gating.block{block}.0", (4 * width, width))
        yield from _affine(f"gating.block{block}.3", (width, 4 * width))
        yield from _affine(f"gating.block{block}.5", (width,))
    yield from _affine("gating.gate.0", (width,))
    yield from _affine("gating.gate.1", (2, width))


def _language(text: PublishedText) -> Named:
    hidden, stem = text.hidden_size, "language_model.model"
    yield f"{stem}.embed_tokens.weight", (text.vocab_size, hidden)
    for layer in range(text.num_layers):
        block = f"{stem}.layers.{layer}"
        yield f"{block}.input_layernorm.weight", (hidden,)
        yield f"{block}.post_attention_layernorm.weight", (hidden,)
        yield from _attention(text, f"{block}.self_attn")
        if text.kind == "gpt_oss":
            yield from _gpt_oss_experts(text, f"{block}.mlp")
        elif text.num_experts:
            yield f"{block}.mlp.gate.weight", (text.num_experts, hidden)
            for expert in range(text.num_experts):
                yield from _feed_forward(text, f"{block}.mlp.experts.{expert}")
        else:
            yield from _feed_forward(text, f"{block}.mlp")
    yield f"{stem}.norm.weight", (hidden,)
    yield "language_model.lm_head.weight", (text.vocab_size, hidden)


def _attention(text: PublishedText, stem: str) -> Named:
    queries, keys = text.num_heads * text.head_dim, text.num_kv_heads * text.head_dim
    shapes = {
        "q_proj": (queries, text.hidden_size),
        "k_proj": (keys, text.hidden_size),
        "v_proj": (keys, text.hidden_size),
        "o_proj": (text.hidden_size, queries),
    }
    for name, shape in shapes.items():
        yield f"{stem}.{name}.weight", shape
        if text.kind == "gpt_oss":
            yield f"{stem}.{name}.bias", shape[:1]
    if text.kind == "gpt_oss":
        yield f"{stem}.sinks", (text.num_heads,)
    else:
        yield f"{stem}.q_norm.weight", (text.head_dim,)
        yield f"{stem}.k_norm.weight", (text.head_dim,)


def _feed_forward(text: PublishedText, stem: str) -> Named:
    hidden, width = text.hidden_size, text.intermediate_size
    yield f"{stem}.gate_proj.weight", (width, hidden)
    yield f"{stem}.up_proj.weight", (width, hidden)
    yield f"{stem}.down_proj.weight", (hidden, width)


def _gpt_oss_experts(text: PublishedText, stem: str) -> Named:
    experts, hidden, width = text.num_experts, text.hidden_size, text.intermediate_size
    yield from _affine(f"{stem}.router", (experts, hidden))
    yield f"{stem}.experts.gate_up_proj", (experts, hidden, 2 * width)
    yield f"{stem}.experts.gate_up_proj_bias", (experts, 2 * width)
    yield f"{stem}.experts.down_proj", (experts, width, hidden)
    yield f"{stem}.experts.down_proj_bias", (experts, hidden)


def _converted(name: str, shape: Shape, published_format: PublishedFormat) -> Named:
    """What the published converter makes of one tensor of the original format."""
    is_old = published_format is PublishedFormat.TRANSFORMERS_4
    stem = "" if is_old else "model."
    if name.startswith("language_model."):
        if is_old:
            yield name, shape
        elif name.startswith("language_model.lm_head."):
            yield name.removeprefix("language_model."), shape
        else:
            yield f"model.language_model.{name.removeprefix('language_model.model.')}", shape
    elif name.startswith("mlp1."):
        _, number, kind = name.split(".")
        yield f"{stem}multi_modal_projector.{TRANSFORMERS_PROJECTOR[number]}.{kind}", shape
    else:
        for original, other in TRANSFORMERS_VISION:
            name = name.replace(original, other)
        if published_format is not PublishedFormat.TRANSFORMERS_ATTN:
            name = name.replace(".attn.q_norm.", ".attention.q_norm.")
            name = name.replace(".attn.k_norm.", ".attention.k_norm.")
        if ".attn.qkv." in name:
            for letter in "qkv":
                part = name.replace(".attn.qkv.", f".attention.{letter}_proj.")
                yield f"{stem}{part}", (shape[0] // 3, *shape[1:])
        else:
            yield f"{stem}{name}", shape
