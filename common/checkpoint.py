"""Fill a module, built on the meta device, with a checkpoint's tensors.

Each service lists, for every parameter of its own module, the tensor it comes from; nothing else
is opened. What is missing, extra or misshapen is an error that names the tensor.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from common.checkpoint_problem import refuse
from common.errors import CheckpointError
from common.loading_progress import LoadingProgress, NoProgress
from common.role_check import check_role
from common.tensor_header import TensorEntry
from common.tensor_source import Reading, Source, TensorSource, num_bytes_read, readings_of

NO_PROGRESS = NoProgress()


def load_tensors(
    module: nn.Module,
    entries: Mapping[str, TensorEntry],
    sources: Mapping[str, Source],
    dtype: torch.dtype,
    device: torch.device,
    progress: LoadingProgress = NO_PROGRESS,
) -> int:
    """Check, then read every parameter of the module straight to the device.

    Args:
        module: Built on the meta device; its parameters are replaced.
        entries: The tensors of this role, by checkpoint name.
        sources: For each parameter of the module its tensor.
        dtype: Element type to hold.
        device: Where to hold them.
        progress: Told of every read.

    Returns:
        Bytes that were read, as they lie in the files.

    Raises:
        CheckpointError: As `check_role` says, or a file is damaged.
    """
    refuse(check_role(module, entries, sources).problems)
    by_file: dict[Path, list[Reading]] = defaultdict(list)
    total_bytes = 0
    for reading in readings_of(module, sources):
        entry = entries[reading.source.name]
        by_file[entry.file].append(reading)
        total_bytes += num_bytes_read(reading, entry)
    state = {
        name: torch.empty(tensor.shape, dtype=dtype, device=device)
        for name, tensor in module.state_dict().items()
    }
    progress.begin(total_bytes)
    num_bytes = 0
    for file, readings in by_file.items():
        for filled in _fill_from(file, readings, state):
            progress.add(filled)
            num_bytes += filled
    progress.end()
    module.load_state_dict(state, strict=True, assign=True)
    return num_bytes


def _fill_from(
    file: Path, readings: Sequence[Reading], state: Mapping[str, torch.Tensor]
) -> Iterator[int]:
    """Write what one file holds; after each read its bytes."""
    try:
        with safe_open(file, framework="pt") as tensors:
            for reading in readings:
                whole = state[reading.parameter]
                place = whole if reading.place is None else whole[reading.place]
                yield _fill(place, tensors, reading.source)
    except SafetensorError as cause:
        raise CheckpointError(f"{file.name} is not a valid safetensors file.") from cause


def _fill(place: torch.Tensor, tensors: Any, source: TensorSource) -> int:
    """Write a part to its place; the bytes that were read for it."""
    if not source.is_read:
        place.zero_()
        return 0
    part = _read_part(tensors, source)
    place.copy_(part)
    return part.nbytes


def _read_part(tensors: Any, source: TensorSource) -> torch.Tensor:
    """The part, and nothing else of the file."""
    whole = tensors.get_slice(source.name)
    fused = whole.get_shape()[source.dimension] // source.num_fused
    size = fused // source.num_parts
    begins = (index * fused + source.part * size for index in range(source.num_fused))
    before = (slice(None),) * source.dimension
    parts: list[torch.Tensor] = [whole[(*before, slice(at, at + size))] for at in begins]
    return parts[0] if len(parts) == 1 else torch.cat(parts, source.dimension)


def weight_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers that a module holds."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
