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
        part: Which of `num_parts` equal runs of rows to take.
        num_parts: 1 for the whole tensor, 3 for a fused query-key-value matrix.
    """

    name: str
    part: int = 0
    num_parts: int = 1


@dataclass(frozen=True, slots=True)
class StackedSource:
    """Where a parameter of all experts comes from, where each expert's tensors lie apart.

    Attributes:
        experts: For each index of the parameter's first dimension its tensors, put one below the
            other; all have the same number of rows.
    """

    experts: tuple[tuple[str, ...], ...]


Source = TensorSource | StackedSource


@dataclass(frozen=True, slots=True)
class _Reading:
    """One read of a tensor into a parameter.

    Attributes:
        parameter: What it fills, or fills a part of.
        source: Which rows of which tensor.
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
) -> None:
    """Check, then read every parameter of the module straight to the device.

    Args:
        module: Built on the meta device; its parameters are replaced.
        entries: The tensors of this role, by checkpoint name.
        sources: For each parameter of the module its tensor.
        dtype: Element type to hold.
        device: Where to hold them.

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
    for file, readings in by_file.items():
        try:
            with safe_open(file, framework="pt") as tensors:
                for reading in readings:
                    whole = state[reading.parameter]
                    place = whole if reading.place is None else whole[reading.place]
                    place.copy_(_read_part(tensors, reading.source))
        except SafetensorError as cause:
            raise CheckpointError(f"{file.name} is not a valid safetensors file.") from cause
    module.load_state_dict(state, strict=True, assign=True)


def _readings(module: nn.Module, sources: Mapping[str, Source]) -> list[_Reading]:
    """All reads that fill a module, in its own order."""
    readings: list[_Reading] = []
    for parameter, tensor in module.state_dict().items():
        source, (rows, *rest) = sources[parameter], tensor.shape
        if isinstance(source, TensorSource):
            wanted = (rows * source.num_parts, *rest)
            readings.append(_Reading(parameter, source, wanted))
            continue
        for expert, names in enumerate(source.experts):
            height, *width = rest
            height //= len(names)
            for index, name in enumerate(names):
                place = (expert, slice(index * height, (index + 1) * height))
                readings.append(_Reading(parameter, TensorSource(name), (height, *width), place))
    return readings


def _read_part(tensors: Any, source: TensorSource) -> torch.Tensor:
    rows = tensors.get_slice(source.name)
    num_rows = rows.get_shape()[0] // source.num_parts
    part: torch.Tensor = rows[source.part * num_rows : (source.part + 1) * num_rows]
    return part


def weight_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers that a module holds."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
