"""Whether a checkpoint will load, by its configuration, tokenizer and tensor headers alone.

`dvd serve` runs it before Ray places anything, `dvd check` to show all that it finds. Both roles'
modules are built on the meta device, so a model of half a terabyte takes seconds and no memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from common.checkpoint_problem import CheckpointProblem, ProblemKind, refuse
from common.errors import CheckpointError
from common.model_config import ModelConfig, load_model_config
from common.model_files import read_tensor_table
from common.role_check import RoleCheck
from common.tensor_header import TensorEntry
from language_service.tokenizer import ChatTokenizer
from language_service.weights import check_language_model
from vision_service.weights import check_vision_model

Checked = TypeVar("Checked")


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What was found.

    Attributes:
        directory: Of the model.
        problems: Why it will not load; none where it will.
        config: Its configuration, where that can be read.
        tensors: All tensors, by name, as far as their files can be read.
        vision: The vision role, where its module can be built.
        language: The language role, likewise.
    """

    directory: Path
    problems: tuple[CheckpointProblem, ...]
    config: ModelConfig | None = None
    tensors: Mapping[str, TensorEntry] = field(default_factory=dict, repr=False)
    vision: RoleCheck | None = None
    language: RoleCheck | None = None

    @property
    def will_load(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.problems


def require_loadable(directory: Path) -> None:
    """Refuse a model that would not load.

    Raises:
        CheckpointError: Tells the first problem, and how many others there are.
    """
    refuse(check_model(directory).problems)


def check_model(directory: Path) -> ModelCheck:
    """Find everything that would keep a checkpoint from being served."""
    found: list[CheckpointProblem] = []
    config = _tried(lambda: load_model_config(directory), ProblemKind.CONFIG, found)
    if config is None:
        return ModelCheck(directory, tuple(found))
    _tried(lambda: _check_tokenizer(directory, config), ProblemKind.TOKENIZER, found)
    table = _tried(lambda: read_tensor_table(directory), ProblemKind.FILE, found)
    if table is None:
        return ModelCheck(directory, tuple(found), config)
    found += table.problems
    entries = table.entries
    vision = _tried(lambda: check_vision_model(config, entries), ProblemKind.CONFIG, found)
    language = _tried(lambda: check_language_model(config, entries), ProblemKind.CONFIG, found)
    named = {problem.tensor for problem in found if problem.tensor}
    for role in (vision, language):
        # What a file that cannot be read may hold is not missing; what the index has told is told.
        found += (
            problem
            for problem in (role.problems if role else ())
            if problem.kind is not ProblemKind.MISSING
            or (table.is_whole and problem.tensor not in named)
        )
    problems = tuple(dict.fromkeys(found))  # each role tells of tensors that belong to neither
    return ModelCheck(directory, problems, config, entries, vision, language)


def _tried(
    check: Callable[[], Checked], kind: ProblemKind, found: list[CheckpointProblem]
) -> Checked | None:
    try:
        return check()
    except CheckpointError as error:
        found.append(CheckpointProblem(kind, error.message))
        return None


def _check_tokenizer(directory: Path, config: ModelConfig) -> None:
    size, rows = ChatTokenizer(directory).vocabulary_size, int(config.text["vocab_size"])
    if size > rows:
        raise CheckpointError(
            f"The tokenizer has {size} tokens, and the language model rows for {rows}."
        )
