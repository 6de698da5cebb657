"""Numbers on their way to the device, without waiting for what it is doing.

A copy from ordinary memory to a GPU waits for all that was launched before; one from page-locked
memory does not. PyTorch keeps page-locked memory and gives it out again only when the copy from it
is over, so nothing here need be held. On a CPU a tensor is made and nothing else.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def upload(values: Sequence[Any], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A tensor of numbers, or of equal rows of numbers, on a device."""
    if device.type == "cuda":
        pinned = torch.tensor(values, dtype=dtype, pin_memory=True)
        return pinned.to(device, non_blocking=True)
    return torch.tensor(values, dtype=dtype, device=device)


def upload_indexes(values: Sequence[int], device: torch.device) -> torch.Tensor:
    """Many integers, as [n] int64 on a device."""
    # By way of NumPy, which reads a list in half of the time.
    return upload_tensor(torch.from_numpy(np.array(values, dtype=np.int64)), device)


def upload_tensor(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on a device."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
