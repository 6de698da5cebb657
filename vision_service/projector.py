"""From features of the vision transformer to visual tokens of the language model.

Two branches, both run after the resolution decision: `mlp1` at full resolution (256 tokens a tile
in the published models) and, in Flash checkpoints, `mlp2` at compressed resolution (64). Layer
positions in each `nn.Sequential` are those of the published tensor names.
"""

import torch
from torch import nn


def pixel_shuffle(features: torch.Tensor, factor: int) -> torch.Tensor:
    """Fold each `factor` x `factor` neighbourhood of patches into the channels of one token.

    Args:
        features: [T, P, d], P a square whose side `factor` divides, patches row by row.
        factor: Side of a neighbourhood, in patches.

    Returns:
        [T, P / factor^2, d * factor^2]; a token's channels are its patches' row by row.

    Source: `pixel_shuffle` (version `v2`) of the published `modeling_internvl_chat.py`.
    """
    num_tiles, num_patches, width = features.shape
    side = round(num_patches**0.5)
    folded = side // factor
    grid = features.reshape(num_tiles, folded, factor, folded, factor, width)
    return grid.transpose(2, 3).reshape(num_tiles, folded**2, width * factor**2)


def full_projector(input_size: int, output_size: int) -> nn.Sequential:
    """Build `mlp1`: [.., input_size] to [.., output_size]."""
    return nn.Sequential(
        nn.LayerNorm(input_size),
        nn.Linear(input_size, output_size),
        nn.GELU(),
        nn.Linear(output_size, output_size),
    )


def compressed_projector(input_size: int, output_size: int) -> nn.Sequential:
    """Build `mlp2`: [.., input_size] to [.., output_size]."""
    return nn.Sequential(
        nn.LayerNorm(input_size),
        nn.Linear(input_size, 2 * output_size),
        nn.GELU(),
        nn.Dropout(0.1),
        nn.Linear(2 * output_size, 2 * output_size),
        nn.GELU(),
        nn.Dropout(0.1),
        nn.Linear(2 * output_size, output_size),
    )
