"""Fill a module, built on the meta device, with a checkpoint's tensors.

Each service lists, for every parameter of its own module, the tensor it comes from; nothing else
is opened. What is missing, extra or misshapen is an error that names the tensor.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from common.checkpoint_problem import CheckpointProblem, ProblemKind, refuse
from common.errors import CheckpointError
from common.tensor_header import TensorEntry

LOADABLE_DTYPES = ("F32", "BF16", "F16")


@dataclass(frozen=True, slots=True)
class TensorSource:
    """Where one parameter comes from.

    Attributes:
        name: Tensor in the checkpoint.
        part: Which of `num_parts` equal runs to take, of rows or along another dimension.
        num_parts: 1 for the whole tensor, 3 for a fused query-key-value matrix.
        dimension: That is cut.
        num_fused: Matrices that lie behind each other along that dimension; the part is taken of
            each.
        is_read: False leaves zeros in its place; it is checked all the same.
    """

    name: str
    part: int = 0
    num_parts: int = 1
    dimension: int = 0
    num_fused: int = 1
    is_read: bool = True


@dataclass(frozen=True, slots=True)
class StackedSource:
    """Where a parameter of all experts comes from, where each expert's tensors lie apart.

    Attributes:
        experts: For each index of the parameter's first dimension its tensors, put one below the
            other; all have the same number of rows.
        part: Which of `num_parts` equal runs to take of every tensor.
        num_parts: 1 for whole tensors.
        dimension: Of an expert's tensor, that is cut.
    """

    experts: tuple[tuple[str, ...], ...]
    part: int = 0
    num_parts: int = 1
    dimension: int = 0


Source = TensorSource | StackedSource


@dataclass(frozen=True, slots=True)
class _Reading:
    """One read of a tensor into a parameter.

    Attributes:
        parameter: What it fills, or fills a part of.
        source: Which part of which tensor.
        shape: What the whole tensor must have.
        place: Expert and rows within the parameter; None where it is the whole of it.
    """

    parameter: str
    source: TensorSource
    shape: tuple[int, ...]
    place: tuple[int, slice] | None = None


@dataclass(frozen=True, slots=True)
class RoleCheck:
    """What the headers of a checkpoint say about one role.

    Attributes:
        num_parameters: Elements of its module.
        problems: Why it would not load; none where it will.
    """

    num_parameters: int
    problems: tuple[CheckpointProblem, ...]


def check_role(
    module: nn.Module,
    entries: Mapping[str, TensorEntry],
    sources: Mapping[str, Source],
    foreign: Iterable[CheckpointProblem] = (),
) -> RoleCheck:
    """Find all that is wrong with names, shapes and element types, by the headers alone.

    Args:
        module: Built on the meta device.
        entries: The tensors of this role, by checkpoint name.
        sources: For each parameter of the module its tensor.
        foreign: Problems with tensors of no role.
    """
    readings = _readings(module, sources)
    problems = [*foreign]
    for reading in readings:
        problems += _reading_problems(reading, entries.get(reading.source.name))
    used = {reading.source.name for reading in readings}
    problems += (_extra_problem(entries[name]) for name in sorted(set(entries) - used))
    num_parameters = sum(parameter.numel() for parameter in module.parameters())
    # Three parameters may be cut from one tensor.
    return RoleCheck(num_parameters, tuple(dict.fromkeys(problems)))


def foreign_problem(entry: TensorEntry) -> CheckpointProblem:
    """The problem of a tensor that no role knows."""
    file = entry.file.name
    message = (
        f"Tensor {entry.name} in {file} belongs neither to the vision nor to the language model."
    )
    return CheckpointProblem(ProblemKind.EXTRA, message, entry.name, file)


def _reading_problems(reading: _Reading, entry: TensorEntry | None) -> Iterator[CheckpointProblem]:
    name = reading.source.name
    if entry is None:
        message = f"Tensor {name} is missing from the checkpoint."
        yield CheckpointProblem(ProblemKind.MISSING, message, name)
        return
    file = entry.file.name
    if entry.shape != reading.shape:
        message = (
            f"Tensor {name} in {file} has shape {list(entry.shape)}, "
            f"the configuration asks for {list(reading.shape)}."
        )
        yield CheckpointProblem(ProblemKind.SHAPE, message, name, file)
    if entry.dtype not in LOADABLE_DTYPES:
        yield _dtype_problem(entry)


def _extra_problem(entry: TensorEntry) -> CheckpointProblem:
    if entry.dtype not in LOADABLE_DTYPES:
        return _dtype_problem(entry)
    file = entry.file.name
    message = f"Tensor {entry.name} is in {file} but not in the model."
    return CheckpointProblem(ProblemKind.EXTRA, message, entry.name, file)


def _dtype_problem(entry: TensorEntry) -> CheckpointProblem:
    file = entry.file.name
    message = f"Tensor {entry.name} in {file} has unsupported type {entry.dtype}."
    return CheckpointProblem(ProblemKind.DTYPE, message, entry.name, file)


def load_tensors(
    module: nn.Module,
    entries: Mapping[str, TensorEntry],
    sources: Mapping[str, Source],
    dtype: torch.dtype,
    device: torch.device,
) -> int:
    """Check, then read every parameter of the module straight to the device.

    Args:
        module: Built on the meta device; its parameters are replaced.
        entries: The tensors of this role, by checkpoint name.
        sources: For each parameter of the module its tensor.
        dtype: Element type to hold.
        device: Where to hold them.

    Returns:
        Bytes that were read, as they lie in the files.

    Raises:
        CheckpointError: As `check_role` says, or a file is damaged.
    """
    refuse(check_role(module, entries, sources).problems)
    by_file: dict[Path, list[_Reading]] = defaultdict(list)
    for reading in _readings(module, sources):
        by_file[entries[reading.source.name].file].append(reading)
    state = {
        name: torch.empty(tensor.shape, dtype=dtype, device=device)
        for name, tensor in module.state_dict().items()
    }
    num_bytes = 0
    for file, readings in by_file.items():
        try:
            with safe_open(file, framework="pt") as tensors:
                for reading in readings:
                    whole = state[reading.parameter]
                    place = whole if reading.place is None else whole[reading.place]
                    num_bytes += _fill(place, tensors, reading.source)
        except SafetensorError as cause:
            raise CheckpointError(f"{file.name} is not a valid safetensors file.") from cause
    module.load_state_dict(state, strict=True, assign=True)
    return num_bytes


def _readings(module: nn.Module, sources: Mapping[str, Source]) -> list[_Reading]:
    """All reads that fill a module, in its own order."""
    readings: list[_Reading] = []
    for parameter, tensor in module.state_dict().items():
        source, shape = sources[parameter], tuple(tensor.shape)
        if isinstance(source, TensorSource):
            readings.append(_Reading(parameter, source, _whole_shape(source, shape)))
            continue
        for expert, names in enumerate(source.experts):
            height, *width = shape[1:]
            height //= len(names)
            for index, name in enumerate(names):
                place = (expert, slice(index * height, (index + 1) * height))
                part = TensorSource(name, source.part, source.num_parts, source.dimension)
                wanted = _whole_shape(part, (height, *width))
                readings.append(_Reading(parameter, part, wanted, place))
    return readings


def _whole_shape(source: TensorSource, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the tensor of which a part has the given one."""
    sizes = list(shape)
    sizes[source.dimension] *= source.num_parts
    return tuple(sizes)


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
