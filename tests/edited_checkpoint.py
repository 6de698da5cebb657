"""Copies of a checkpoint of which some tensors are changed."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]
Change = Callable[[Tensors], object]
Edited = Callable[[Change], Path]


def edited_copy(source: Path, target: Path, change: Change) -> Path:
    """Copy weights and configuration of one file, changed; return the target."""
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    (target / "config.json").write_bytes((source / "config.json").read_bytes())
    save_file(tensors, target / "model.safetensors")
    return target
