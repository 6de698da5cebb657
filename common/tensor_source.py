"""Where the parameters of a module come from: tensors of a checkpoint, or parts of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from common.tensor_header import TensorEntry


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
class Reading:
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


def readings_of(module: nn.Module, sources: Mapping[str, Source]) -> list[Reading]:
    """All reads that fill a module, in its own order."""
    readings: list[Reading] = []
    for parameter, tensor in module.state_dict().items():
        source, shape = sources[parameter], tuple(tensor.shape)
        if isinstance(source, TensorSource):
            readings.append(Reading(parameter, source, _whole_shape(source, shape)))
            continue
        for expert, names in enumerate(source.experts):
            height, *width = shape[1:]
            height //= len(names)
            for index, name in enumerate(names):
                place = (expert, slice(index * height, (index + 1) * height))
                part = TensorSource(name, source.part, source.num_parts, source.dimension)
                wanted = _whole_shape(part, (height, *width))
                readings.append(Reading(parameter, part, wanted, place))
    return readings


def _whole_shape(source: TensorSource, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the tensor of which a part has the given one."""
    sizes = list(shape)
    sizes[source.dimension] *= source.num_parts
    return tuple(sizes)


def num_bytes_read(reading: Reading, entry: TensorEntry) -> int:
    """Bytes that a reading takes from its file."""
    source = reading.source
    return (entry.end - entry.begin) // source.num_parts if source.is_read else 0
