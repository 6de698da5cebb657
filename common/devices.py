"""Choose the device, element type and thread count of a replica.

On CPU everything computes in float32: it is exact, and measured faster than bfloat16 without AMX.
"""

import torch

from common.config import DTypeName


def choose_device(wanted: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda` into a device."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def choose_dtype(wanted: DTypeName, device: torch.device) -> torch.dtype:
    """Turn `auto` into the device's element type."""
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return torch.float32 if wanted == "float32" else torch.bfloat16
