"""Point the last layer of a random gate: plain tiles may be compressed, busy ones may not.

A gate with random weights answers by chance. Its features do tell plain from busy tiles, though, so
one linear direction between both is enough: Fisher's discriminant of drawn tiles of both kinds.
Only `gating.gate.1` is set; every other tensor stays as drawn.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional

from common.model_config import IMAGENET_MEAN, IMAGENET_STD
from training.checkpoint_shape import GATE_HEADS, CheckpointShape

Tensors = Mapping[str, torch.Tensor]

NUM_TILES = 192  # of each kind
LOGIT_GAP = 4.0  # between the means of both kinds
RIDGE = 0.02  # share of the mean variance added to every direction
ROUNDING = 64  # the head keeps steps of 1/64, so that it does not hang on a last bit
FEATURE_NORM_EPS = 1e-5


def point_gate(tensors: dict[str, torch.Tensor], shape: CheckpointShape, seed: int) -> None:
    """Set `gating.gate.1` of a Flash checkpoint.

    Args:
        tensors: All tensors by original name; two are replaced.
        shape: Of the model.
        seed: Of the tiles that the direction is measured on.
    """
    source = torch.Generator().manual_seed(seed)
    side = shape.vision.tile_size
    # In double precision: the solve below would carry float32 noise over a rounding step.
    exact = {name: tensor.double() for name, tensor in tensors.items()}
    with torch.no_grad():
        plain = _gate_features(exact, shape, _plain_tiles(side, source))
        busy = _gate_features(exact, shape, _busy_tiles(side, source))
    difference = plain.mean(0) - busy.mean(0)
    spread = 0.5 * (plain.T.cov() + busy.T.cov())
    spread += RIDGE * spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype)
    direction = torch.linalg.solve(spread, difference)
    direction *= LOGIT_GAP / (direction @ difference)
    offset = -0.5 * direction @ (plain.mean(0) + busy.mean(0))
    half_weight, half_bias = _rounded(direction / 2), _rounded(offset / 2)
    tensors["gating.gate.1.weight"] = torch.stack([half_weight, -half_weight])
    tensors["gating.gate.1.bias"] = torch.stack([half_bias, -half_bias])


def _rounded(values: torch.Tensor) -> torch.Tensor:
    return ((values * ROUNDING).round() / ROUNDING).float()


def _plain_tiles(side: int, source: torch.Generator) -> torch.Tensor:
    """Tiles of one colour, or shading into another. Returns [NUM_TILES, 3, side, side]."""
    start, step = torch.rand(2, NUM_TILES, 3, 1, 1, generator=source)
    ramp = torch.linspace(0, 1, side).view(1, 1, side, 1)
    return _normalised((start + 0.3 * (step - 0.5) * ramp).expand(-1, -1, -1, side))


def _busy_tiles(side: int, source: torch.Generator) -> torch.Tensor:
    """Tiles with 4 to 60 coloured boxes on a plain ground. Returns [NUM_TILES, 3, side, side]."""
    tiles = torch.rand(NUM_TILES, 3, 1, 1, generator=source).repeat(1, 1, side, side)
    for tile in tiles:
        num_boxes = int(torch.randint(4, 61, (), generator=source))
        places = torch.randint(side, (num_boxes, 2), generator=source).tolist()
        sizes = torch.randint(2, side // 4, (num_boxes, 2), generator=source).tolist()
        colours = torch.rand(num_boxes, 3, 1, 1, generator=source)
        for (x, y), (width, height), colour in zip(places, sizes, colours, strict=True):
            tile[:, y : y + height, x : x + width] = colour
    return _normalised(tiles)


def _normalised(pixels: torch.Tensor) -> torch.Tensor:
    """Return pixels of 0..1 as the model takes them, in double precision."""
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.double).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.double).view(1, 3, 1, 1)
    return (pixels.clamp(0, 1) - mean) / std


def _gate_features(tensors: Tensors, shape: CheckpointShape, tiles: torch.Tensor) -> torch.Tensor:
    """What `gating.gate.1` sees of each tile: [tiles, width]."""
    patches = _vision_transformer(tensors, shape, tiles)
    pooled = _pool(tensors, patches)
    for index in range(1, 5):
        block = f"gating.block{index}"
        hidden = functional.gelu(_linear(tensors, f"{block}.0", pooled))
        branch = _linear(tensors, f"{block}.3", hidden)
        pooled = pooled + _layer_norm(tensors, f"{block}.5", branch, FEATURE_NORM_EPS)
    return _layer_norm(tensors, "gating.gate.0", pooled, FEATURE_NORM_EPS)


def _pool(tensors: Tensors, patches: torch.Tensor) -> torch.Tensor:
    """Four attention rounds with one query; rounds three and four use the second's weights."""
    prefix, width = "pooling_before_gating", patches.shape[-1]
    query = tensors[f"{prefix}.query_token"].expand(len(patches), 1, width)
    for index in (1, 2, 2, 2):  # attn3, attn4 and their norms are stored but never used
        attention = f"{prefix}.attn{index}"
        weight = tensors[f"{attention}.in_proj_weight"].chunk(3)
        bias = tensors[f"{attention}.in_proj_bias"].chunk(3)
        key = functional.linear(patches, weight[1], bias[1])
        value = functional.linear(patches, weight[2], bias[2])
        mixed = _mix(functional.linear(query, weight[0], bias[0]), key, value, GATE_HEADS)
        query = _linear(tensors, f"{attention}.out_proj", mixed)
        query = _layer_norm(tensors, f"{prefix}.norm{index}", query, FEATURE_NORM_EPS)
    return query[:, 0]


def _vision_transformer(
    tensors: Tensors, shape: CheckpointShape, tiles: torch.Tensor
) -> torch.Tensor:
    """[tiles, 3, side, side] to [tiles, patches, width], CLS dropped."""
    vision, prefix = shape.vision, "vision_model.embeddings"
    weight = tensors[f"{prefix}.patch_embedding.weight"]
    bias = tensors[f"{prefix}.patch_embedding.bias"]
    x = functional.conv2d(tiles, weight, bias, stride=vision.patch_size).flatten(2).transpose(1, 2)
    cls = tensors[f"{prefix}.class_embedding"].expand(len(tiles), -1, -1)
    x = torch.cat([cls, x], dim=1) + tensors[f"{prefix}.position_embedding"]
    for index in range(vision.num_layers):
        layer = f"vision_model.encoder.layers.{index}"
        normed = _block_norm(tensors, f"{layer}.norm1", x, shape)
        x = x + tensors[f"{layer}.ls1"] * _attention(tensors, f"{layer}.attn", normed, shape)
        normed = _block_norm(tensors, f"{layer}.norm2", x, shape)
        hidden = functional.gelu(_linear(tensors, f"{layer}.mlp.fc1", normed))
        x = x + tensors[f"{layer}.ls2"] * _linear(tensors, f"{layer}.mlp.fc2", hidden)
    return x[:, 1:]


def _attention(
    tensors: Tensors, name: str, x: torch.Tensor, shape: CheckpointShape
) -> torch.Tensor:
    vision = shape.vision
    query, key, value = _linear(tensors, f"{name}.qkv", x).chunk(3, dim=-1)
    if vision.qk_norm:
        query = _block_norm(tensors, f"{name}.q_norm", query, shape)
        key = _block_norm(tensors, f"{name}.k_norm", key, shape)
    mixed = _mix(query, key, value, vision.num_heads)
    return _linear(tensors, f"{name}.proj", mixed)


def _mix(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, num_heads: int
) -> torch.Tensor:
    """Attend over [tiles, tokens, width] each, without a mask."""
    split = [x.view(*x.shape[:2], num_heads, -1).transpose(1, 2) for x in (query, key, value)]
    mixed = functional.scaled_dot_product_attention(split[0], split[1], split[2])
    return mixed.transpose(1, 2).flatten(2)


def _linear(tensors: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))


def _layer_norm(tensors: Tensors, name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    return functional.layer_norm(x, weight.shape, weight, bias, eps)


def _block_norm(
    tensors: Tensors, name: str, x: torch.Tensor, shape: CheckpointShape
) -> torch.Tensor:
    if shape.vision.norm_type == "layer_norm":
        return _layer_norm(tensors, name, x, shape.vision.norm_eps)
    weight = tensors[f"{name}.weight"]
    return functional.rms_norm(x, weight.shape, weight, shape.vision.norm_eps)
