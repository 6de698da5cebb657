"""The visual resolution router's network: how likely a tile may be compressed.

Features of the vision transformer go in, before any pixel shuffle; two logits per tile come out,
of which class 0 means "compress". Each tile is pooled alone. What is done with the probability is
decided elsewhere, by `common.resolution_rule`.

Module names and positions are those of the published tensors (`modeling_internvl_chat.py` of the
Flash checkpoints). Dropout acts only when the gate is trained.
"""

import torch
from torch import nn
from torch.nn import functional

from common.errors import CheckpointError

NUM_HEADS = 16


class TilePooling(nn.Module):
    """`pooling_before_gating`: a learned query attends to a tile's features four times.

    The published code uses the second attention and norm for rounds two to four; the third and
    fourth are stored in every checkpoint and never used.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        if hidden_size % NUM_HEADS:
            raise CheckpointError(
                f"The resolution gate has {NUM_HEADS} heads, which do not divide "
                f"the vision hidden size {hidden_size}."
            )
        self.query_token = nn.Parameter(torch.zeros(1, hidden_size))
        self.attn1, self.attn2, self.attn3, self.attn4 = (
            nn.MultiheadAttention(hidden_size, NUM_HEADS, batch_first=True) for _ in range(4)
        )
        self.norm1, self.norm2, self.norm3, self.norm4 = (
            nn.LayerNorm(hidden_size) for _ in range(4)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pool each tile's features [T, P, d] to [T, d]."""
        query = self.query_token.expand(len(features), 1, -1)
        query = self.norm1(attend(self.attn1, query, keys_values(self.attn1, features)))
        # Rounds two to four share weights and input, so their keys and values are made once.
        shared = keys_values(self.attn2, features)
        for _ in range(3):
            query = self.norm2(attend(self.attn2, query, shared))
        pooled: torch.Tensor = query.squeeze(1)
        return pooled


class GatingHead(nn.Module):
    """`gating`: residual blocks and a classifier over the pooled vector."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.block1, self.block2, self.block3, self.block4 = (
            _gating_block(hidden_size) for _ in range(4)
        )
        self.gate = nn.Sequential(nn.LayerNorm(hidden_size), nn.Linear(hidden_size, 2))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Turn pooled tiles [T, d] into logits [T, 2]; index 0 is "compress"."""
        for block in (self.block1, self.block2, self.block3, self.block4):
            pooled = pooled + block(pooled)
        logits: torch.Tensor = self.gate(pooled)
        return logits


def keys_values(attention: nn.MultiheadAttention, context: torch.Tensor) -> torch.Tensor:
    """Project a context [T, P, d] to its keys and values, [T, P, 2d]."""
    width = context.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    return functional.linear(context, weight[width:], bias[width:])


def attend(
    attention: nn.MultiheadAttention, query: torch.Tensor, context: torch.Tensor
) -> torch.Tensor:
    """Attend with one query per tile to projected keys and values.

    Args:
        attention: Holds the weights; its own forward would project the context every time.
        query: [T, 1, d].
        context: [T, P, 2d] of `keys_values`.

    Returns:
        [T, 1, d].
    """
    width = query.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    queries = _split_heads(functional.linear(query, weight[:width], bias[:width]))
    keys, values = (_split_heads(half) for half in torch.split(context, width, dim=-1))
    # The query is scaled before the product, as torch does it: in bfloat16 the bits depend on it.
    scale = queries.shape[-1] ** -0.5
    shares = torch.softmax((queries * scale) @ keys.transpose(-2, -1), dim=-1)
    mixed = (shares @ values).transpose(1, 2).flatten(2)
    output: torch.Tensor = attention.out_proj(mixed)
    return output


def _split_heads(rows: torch.Tensor) -> torch.Tensor:
    """[T, n, d] to [T, heads, n, d / heads]."""
    num_tiles, length, width = rows.shape
    return rows.reshape(num_tiles, length, NUM_HEADS, width // NUM_HEADS).transpose(1, 2)


def _gating_block(hidden_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(hidden_size, 4 * hidden_size),
        nn.GELU(),
        nn.Dropout(0.1),
        nn.Linear(4 * hidden_size, hidden_size),
        nn.Dropout(0.1),
        nn.LayerNorm(hidden_size),
    )
