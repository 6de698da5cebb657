"""Fill a module, built on the meta device, with a checkpoint's tensors.

Each service lists, for every parameter of its own module, the tensor it comes from; nothing else
is opened. What is missing, extra or misshapen is an error that names the tensor.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from common.errors import CheckpointError
from common.model_files import TensorEntry

LOADABLE_DTYPES = ("F32", "BF16", "F16")


@dataclass(frozen=True, slots=True)
class TensorSource:
    """Where one parameter comes from.

    Attributes:
        name: Tensor in the checkpoint.
        part: Which of `num_parts` equal runs of rows to take.
        num_parts: 1 for the whole tensor, 3 for a fused query-key-value matrix.
    """

    name: str
    part: int = 0
    num_parts: int = 1


def check_tensors(
    module: nn.Module,
    entries: Mapping[str, TensorEntry],
    sources: Mapping[str, TensorSource],
) -> None:
    """Check names, shapes and element types against the headers alone, before memory is taken.

    Args:
        module: Built on the meta device.
        entries: The tensors of this role, by checkpoint name.
        sources: For each parameter of the module its tensor.

    Raises:
        CheckpointError: Names the first tensor that is missing, extra or misshapen.
    """
    for parameter, tensor in module.state_dict().items():
        source = sources[parameter]
        entry = entries.get(source.name)
        if entry is None:
            raise CheckpointError(f"Tensor {source.name} is missing from the checkpoint.")
        wanted = (tensor.shape[0] * source.num_parts, *tensor.shape[1:])
        if entry.shape != wanted:
            raise CheckpointError(
                f"Tensor {source.name} has shape {list(entry.shape)}, "
                f"the configuration asks for {list(wanted)}."
            )
        if entry.dtype not in LOADABLE_DTYPES:
            raise CheckpointError(f"Tensor {source.name} has unsupported type {entry.dtype}.")
    used = {source.name for source in sources.values()}
    extra = sorted(set(entries) - used)
    if extra:
        raise CheckpointError(f"Tensor {extra[0]} is in the checkpoint but not in the model.")


def load_tensors(
    module: nn.Module,
    entries: Mapping[str, TensorEntry],
    sources: Mapping[str, TensorSource],
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """Check, then read every parameter of the module straight to the device.

    Args:
        module: Built on the meta device; its parameters are replaced.
        entries: The tensors of this role, by checkpoint name.
        sources: For each parameter of the module its tensor.
        dtype: Element type to hold.
        device: Where to hold them.

    Raises:
        CheckpointError: As `check_tensors`, or a file is damaged.
    """
    check_tensors(module, entries, sources)
    by_file: dict[Path, list[str]] = defaultdict(list)
    for parameter, source in sources.items():
        by_file[entries[source.name].file].append(parameter)
    state: dict[str, torch.Tensor] = {}
    for file, parameters in by_file.items():
        try:
            with safe_open(file, framework="pt") as tensors:
                for parameter in parameters:
                    tensor = _read_part(tensors, sources[parameter])
                    # A slice is a view of the mapped file; a copy is aligned and outlives it.
                    state[parameter] = tensor.to(device=device, dtype=dtype, copy=True)
        except SafetensorError as cause:
            raise CheckpointError(f"{file.name} is not a valid safetensors file.") from cause
    module.load_state_dict(state, strict=True, assign=True)


def _read_part(tensors: Any, source: TensorSource) -> torch.Tensor:
    rows = tensors.get_slice(source.name)
    num_rows = rows.get_shape()[0] // source.num_parts
    part: torch.Tensor = rows[source.part * num_rows : (source.part + 1) * num_rows]
    return part


def weight_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers that a module holds."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
