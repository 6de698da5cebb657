"""Root-mean-square norms as one operation each: on a GPU a norm is otherwise seven launches.

PyTorch's own operation computes in float32 and rounds once, where transformers' modules may round
before they scale; in float32 both are equal but for the last bit. It **has never run on a card**.
"""

from typing import cast

import torch
from torch import nn
from torch.nn import functional


class FusedRmsNorm(nn.Module):
    """What a norm of transformers computes.

    Args:
        weight: [d], its scale.
        epsilon: Added to the mean square.
    """

    def __init__(self, weight: nn.Parameter, epsilon: float) -> None:
        super().__init__()
        self.weight = weight
        self.variance_epsilon = epsilon

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [..., d] to [..., d]."""
        return functional.rms_norm(rows, self.weight.shape, self.weight, self.variance_epsilon)


def fuse_norms(model: nn.Module) -> None:
    """Replace every root-mean-square norm below a model; names of parameters stay."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if _is_norm(child):
                weight = cast("nn.Parameter", child.weight)
                epsilon = cast("float", child.variance_epsilon)
                setattr(parent, name, FusedRmsNorm(weight, epsilon))


def _is_norm(module: nn.Module) -> bool:
    """Whether it is one of those that transformers' classes of the supported models have."""
    has_parts = set(dict(module.named_parameters())) == {"weight"}
    return type(module).__name__.endswith("RMSNorm") and has_parts
