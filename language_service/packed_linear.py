"""Linear layers whose weights lie in the order in which oneDNN reads them: the CPU's fast path.

A step of a few answers is a product of a few rows with every weight of the model, and PyTorch's
own `linear` on a CPU lays each weight out anew in every call, or reads it in an order that suits
large products. Packed once, eight rows take about half of the time, a prompt a seventh less.

oneDNN keeps a quarter of a megabyte for every number of rows that it has met with every shape of
weight, for good, and takes milliseconds to make it. Steps of prompts have any number of rows, so
beyond a few they are rounded up, at the price of some rows of zeros.

The operators are those that PyTorch's own compiler uses and are not public: they are tried once
per element type, and where they are missing or compute something else the layers stay as they are.
"""

from functools import cache
from typing import cast

import torch
from torch import nn
from torch.nn import functional

PACKED_DTYPES = (torch.float32, torch.bfloat16)
EXACT_ROWS = 32
FINE_ROWS, FINE_MULTIPLE = 128, 8
COARSE_MULTIPLE = 32


class PackedLinear(nn.Module):
    """What `nn.Linear` computes, for inference on a CPU alone.

    Args:
        linear: The layer to take over; its own weight is needed no more.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias = linear.bias
        self._packed = _pack(linear.weight.detach())
        self._bias = None if bias is None else bias.detach()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [..., in_features] to [..., out_features]."""
        num_rows = rows.numel() // self.in_features
        missing = rounded_rows(num_rows) - num_rows
        if not missing:
            return _multiply(rows, self._packed, self._bias)
        flat = functional.pad(rows.reshape(num_rows, self.in_features), (0, 0, 0, missing))
        product = _multiply(flat, self._packed, self._bias)
        return product[:num_rows].view(*rows.shape[:-1], self.out_features)


def rounded_rows(num_rows: int) -> int:
    """Rows that are computed for so many; answers, whose steps are small, need no rounding."""
    if num_rows <= EXACT_ROWS:
        return num_rows
    multiple = FINE_MULTIPLE if num_rows <= FINE_ROWS else COARSE_MULTIPLE
    return -(-num_rows // multiple) * multiple


def pack_linears(model: nn.Module) -> None:
    """Replace every linear layer below a model that may be packed.

    Memory grows by one layer at a time, and stays where a weight serves twice, such as a head
    that shares its weight with the embedding.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            # A subclass may compute something else.
            if type(child) is nn.Linear and _may_pack(child.weight):
                setattr(parent, name, PackedLinear(child))


def _may_pack(weight: torch.Tensor) -> bool:
    dtype = weight.dtype
    return weight.device.type == "cpu" and dtype in PACKED_DTYPES and _packing_works(dtype)


@cache
def _packing_works(dtype: torch.dtype) -> bool:
    """Whether the operators exist and compute what `linear` does."""
    source = torch.Generator().manual_seed(0)
    rows, weight, bias = (
        torch.randn(size, generator=source).to(dtype) for size in ((3, 40), (24, 40), (24,))
    )
    try:
        packed = _multiply(rows, _pack(weight), bias)
    except (AttributeError, RuntimeError, TypeError):
        return False
    expected = functional.linear(rows.float(), weight.float(), bias.float())
    tolerance = 1e-4 if dtype is torch.float32 else 0.1
    return packed.dtype is dtype and torch.allclose(packed.float(), expected, atol=tolerance)


def _pack(weight: torch.Tensor) -> torch.Tensor:
    # Without a number of rows it picks an order that suits few and many alike.
    return cast("torch.Tensor", torch.ops.mkldnn._reorder_linear_weight(weight, None))


def _multiply(rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    product = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
    return cast("torch.Tensor", product)
