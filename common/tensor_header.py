"""The tensor table at the head of a safetensors file; no torch, and no byte of a tensor.

Parsed here because it is needed where torch is not, and because what is wrong with it should be
told with the names of file and tensor.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from operator import index
from pathlib import Path
from typing import Any

from common.checkpoint_problem import CheckpointProblem, ProblemKind
from common.errors import CheckpointError
from common.json_file import DuplicateKeyError, parse_json

MAX_HEADER_BYTES = 100 << 20
# Of the types that can be loaded; a tensor of another type is refused by whoever wants it.
DTYPE_BYTES = {"F32": 4, "BF16": 2, "F16": 2}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor as a safetensors header describes it.

    Attributes:
        name: Name in the file.
        file: File that holds it.
        dtype: safetensors' name, such as `BF16`.
        shape: Dimensions.
        begin: First byte in the file.
        end: One past its last byte in the file.
    """

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def parse_header(file: Path) -> list[TensorEntry]:
    """Read the tensor table of a file that may be too short for it.

    Raises:
        CheckpointError: The header is malformed.
    """
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else MAX_HEADER_BYTES + 1
        if length > min(MAX_HEADER_BYTES, file.stat().st_size - 8):
            raise CheckpointError(f"{file.name} has no valid safetensors header.")
        try:
            header = parse_json(stream.read(length))
        except DuplicateKeyError as cause:
            raise CheckpointError(f"{file.name} describes tensor {cause.key} twice.") from cause
        except (ValueError, RecursionError) as cause:
            raise CheckpointError(f"{file.name} has no valid safetensors header.") from cause
    if not isinstance(header, dict):
        raise CheckpointError(f"{file.name} has no valid safetensors header.")
    begin = 8 + length
    tensors = (pair for pair in header.items() if pair[0] != "__metadata__")
    entries = [_entry(name, file, facts, begin) for name, facts in tensors]
    _check_order(entries, begin)
    return entries


def length_problems(entries: Sequence[TensorEntry]) -> list[CheckpointProblem]:
    """Compare the length of a file with what its header says.

    Args:
        entries: All tensors of the file.
    """
    last = max(entries, key=lambda entry: entry.end, default=None)
    if last is None:
        return []
    name, size = last.file.name, last.file.stat().st_size
    if last.end == size:
        return []
    message = f"{name} has {size - last.end:,} bytes behind its last tensor, {last.name}."
    if last.end > size:
        lost = sum(entry.end > size for entry in entries)
        message = (
            f"{name} is truncated: it has {size:,} bytes and should have {last.end:,}; "
            f"tensor {last.name} ends outside it{f', and {lost - 1} others' if lost > 1 else ''}."
        )
    return [CheckpointProblem(ProblemKind.FILE, message, last.name, name)]


def _check_order(entries: Sequence[TensorEntry], data_begin: int) -> None:
    """Refuse tensors that overlap or leave room between them, as safetensors itself does."""
    in_order = sorted(entries, key=lambda entry: (entry.begin, entry.end))
    if in_order and in_order[0].begin != data_begin:
        raise _wrong(in_order[0].name, in_order[0].file)
    for one, following in pairwise(in_order):
        if following.begin != one.end:
            raise _wrong(following.name, following.file)


def _entry(name: str, file: Path, facts: Any, data_begin: int) -> TensorEntry:
    """Check what a header says about one tensor; `facts` is any JSON value."""
    try:
        begin, end = (index(offset) for offset in facts["data_offsets"])
        shape = tuple(index(side) for side in facts["shape"])
        element_bytes = DTYPE_BYTES.get(facts["dtype"])
    except (KeyError, TypeError, ValueError) as cause:
        raise _wrong(name, file) from cause
    consistent = element_bytes is None or end - begin == prod(shape) * element_bytes
    if not consistent or not 0 <= begin <= end or any(side < 0 for side in shape):
        raise _wrong(name, file)
    return TensorEntry(name, file, facts["dtype"], shape, data_begin + begin, data_begin + end)


def _wrong(name: str, file: Path) -> CheckpointError:
    return CheckpointError(f"{file.name} describes tensor {name} wrongly.")
