"""What is wrong with a checkpoint, as values: a check lists them all, a start refuses the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from common.errors import CheckpointError


class ProblemKind(StrEnum):
    """Where the fault lies."""

    FILE = "file"
    INDEX = "index"
    MISSING = "missing"
    EXTRA = "extra"
    SHAPE = "shape"
    DTYPE = "dtype"
    CONFIG = "config"
    TOKENIZER = "tokenizer"


@dataclass(frozen=True, slots=True)
class CheckpointProblem:
    """One reason not to load a checkpoint.

    Attributes:
        kind: Where the fault lies.
        message: One sentence that names file and tensor.
        tensor: Tensor at fault, if it is one.
        file: Name of the file at fault, if it is one.
    """

    kind: ProblemKind
    message: str
    tensor: str = ""
    file: str = ""


def refuse(problems: Sequence[CheckpointProblem]) -> None:
    """Refuse a checkpoint that has problems.

    Raises:
        CheckpointError: Tells the first, and how many there are beside it.
    """
    if not problems:
        return
    others = len(problems) - 1
    more = f" It has {others} more: dvd check lists them all." if others else ""
    raise CheckpointError(f"{problems[0].message}{more}")
