"""The vision half written out in float64, one tile and one patch at a time, by published names.

Follows the description of the published code, not the classes of the service.
"""

import math
from collections.abc import Mapping

import torch

Tensors = Mapping[str, torch.Tensor]


def linear(tensors: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    """Multiply by a matrix and add its bias, where there is one."""
    y = x.double() @ tensors[f"{name}.weight"].double().T
    return y + tensors[f"{name}.bias"].double() if f"{name}.bias" in tensors else y


def layer_norm(tensors: Tensors, name: str, x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Centre, scale by the standard deviation, then by the weights."""
    centred = x.double() - x.double().mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * tensors[f"{name}.weight"].double() + tensors[f"{name}.bias"].double()


def rms_norm(tensors: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    """Scale by the root mean square, then by the weights."""
    scaled = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * tensors[f"{name}.weight"].double()


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Exact GELU."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """Attend from rows [n, d] to rows [m, d], head after head."""
    size = q.shape[-1] // heads
    outputs = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        shares = torch.softmax(q[:, own] @ k[:, own].T / math.sqrt(size), dim=-1)
        outputs.append(shares @ v[:, own])
    return torch.cat(outputs, dim=-1)


def encode(tensors: Tensors, pixels: torch.Tensor, heads: int) -> torch.Tensor:
    """Features [P, d] of one tile [3, S, S]."""
    prefix = "vision_model.embeddings"
    kernel = tensors[f"{prefix}.patch_embedding.weight"].double()
    side, patch = pixels.shape[-1], kernel.shape[-1]
    patches = [
        pixels[:, y : y + patch, x : x + patch].double()
        for y in range(0, side, patch)
        for x in range(0, side, patch)
    ]
    rows = torch.stack([(kernel * piece).sum((1, 2, 3)) for piece in patches])
    rows = rows + tensors[f"{prefix}.patch_embedding.bias"].double()
    x = torch.cat([tensors[f"{prefix}.class_embedding"][0].double(), rows])
    x = x + tensors[f"{prefix}.position_embedding"][0].double()
    layer = 0
    while f"vision_model.encoder.layers.{layer}.ls1" in tensors:
        x = _block(tensors, f"vision_model.encoder.layers.{layer}", x, heads)
        layer += 1
    return x[1:]


def _block(tensors: Tensors, name: str, x: torch.Tensor, heads: int) -> torch.Tensor:
    q, k, v = linear(tensors, f"{name}.attn.qkv", _norm(tensors, f"{name}.norm1", x)).chunk(3, -1)
    if f"{name}.attn.q_norm.weight" in tensors:
        q = rms_norm(tensors, f"{name}.attn.q_norm", q)
        k = rms_norm(tensors, f"{name}.attn.k_norm", k)
    mixed = linear(tensors, f"{name}.attn.proj", attention(q, k, v, heads))
    x = x + tensors[f"{name}.ls1"].double() * mixed
    hidden = gelu(linear(tensors, f"{name}.mlp.fc1", _norm(tensors, f"{name}.norm2", x)))
    return x + tensors[f"{name}.ls2"].double() * linear(tensors, f"{name}.mlp.fc2", hidden)


def _norm(tensors: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    if f"{name}.bias" in tensors:
        return layer_norm(tensors, name, x, eps=1e-6)
    return rms_norm(tensors, name, x)


def pool(tensors: Tensors, features: torch.Tensor) -> torch.Tensor:
    """Pool one tile's features [P, d] to [1, d]; the last rounds reuse the second's weights."""
    prefix, d = "pooling_before_gating", features.shape[-1]
    x, query = features.double(), tensors["pooling_before_gating.query_token"].double()
    for used in (1, 2, 2, 2):
        weight = tensors[f"{prefix}.attn{used}.in_proj_weight"].double()
        bias = tensors[f"{prefix}.attn{used}.in_proj_bias"].double()
        q = query @ weight[:d].T + bias[:d]
        k = x @ weight[d : 2 * d].T + bias[d : 2 * d]
        v = x @ weight[2 * d :].T + bias[2 * d :]
        mixed = linear(tensors, f"{prefix}.attn{used}.out_proj", attention(q, k, v, 16))
        query = layer_norm(tensors, f"{prefix}.norm{used}", mixed)
    return query


def score(tensors: Tensors, features: torch.Tensor) -> float:
    """Probability of "compress" of one tile with features [P, d]."""
    x = pool(tensors, features)
    for block in range(1, 5):
        name = f"gating.block{block}"
        hidden = linear(tensors, f"{name}.3", gelu(linear(tensors, f"{name}.0", x)))
        x = x + layer_norm(tensors, f"{name}.5", hidden)
    logits = linear(tensors, "gating.gate.1", layer_norm(tensors, "gating.gate.0", x))
    return float(torch.softmax(logits, dim=-1)[0, 0])


def fold(features: torch.Tensor, factor: int) -> torch.Tensor:
    """Pixel shuffle of one tile [P, d], channel by channel index."""
    side = int(math.sqrt(len(features)))
    rows = []
    for top in range(0, side, factor):
        for left in range(0, side, factor):
            near = [
                features[(top + down) * side + left + right]
                for down in range(factor)
                for right in range(factor)
            ]
            rows.append(torch.cat(near))
    return torch.stack(rows)


def project(tensors: Tensors, features: torch.Tensor, compressed: bool) -> torch.Tensor:
    """Visual tokens [n, h] of one tile with features [P, d], at a downsample ratio of one half."""
    if not compressed:
        x = layer_norm(tensors, "mlp1.0", fold(features, 2))
        return linear(tensors, "mlp1.3", gelu(linear(tensors, "mlp1.1", x)))
    x = layer_norm(tensors, "mlp2.0", fold(features, 4))
    x = gelu(linear(tensors, "mlp2.1", x))
    return linear(tensors, "mlp2.7", gelu(linear(tensors, "mlp2.4", x)))
