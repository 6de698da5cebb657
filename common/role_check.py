"""Compares the tensors that a role needs with the headers of a checkpoint; nothing is read."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from common.checkpoint_problem import CheckpointProblem, ProblemKind
from common.tensor_header import TensorEntry
from common.tensor_source import Reading, Source, readings_of

LOADABLE_DTYPES = ("F32", "BF16", "F16")


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
    readings = readings_of(module, sources)
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


def _reading_problems(reading: Reading, entry: TensorEntry | None) -> Iterator[CheckpointProblem]:
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
