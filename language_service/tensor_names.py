"""Which tensor of a checkpoint fills which parameter of the language model, by their names.

Three ways of naming are known: the original checkpoints', transformers' own, and the one that
transformers wrote before version 5.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from common.checkpoint_problem import CheckpointProblem, ProblemKind
from common.role_check import foreign_problem
from common.tensor_header import TensorEntry

# Prefix in the checkpoint -> prefix in the causal language model.
LANGUAGE_PREFIXES = {
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.language_model.": "model.",
    "lm_head.": "lm_head.",
}
VISION_PREFIXES = (
    "vision_model.",
    "mlp1.",
    "mlp2.",
    "pooling_before_gating.",
    "gating.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
    "vision_tower.",
    "multi_modal_projector.",
)
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class LanguageTensors:
    """The language model's part of a checkpoint.

    Attributes:
        entries: Its tensors, by the name of the parameter that each one fills.
        foreign: Problems with tensors of no role, or with two for one parameter.
    """

    entries: dict[str, TensorEntry]
    foreign: tuple[CheckpointProblem, ...]


def language_tensors(tensors: Mapping[str, TensorEntry]) -> LanguageTensors:
    """Pick them out of all tensors of a checkpoint."""
    foreign: list[CheckpointProblem] = []
    found: dict[str, TensorEntry] = {}
    for name, entry in tensors.items():
        parameter = _parameter_name(name)
        if parameter is None:
            if not name.startswith(VISION_PREFIXES):
                foreign.append(foreign_problem(entry))
        elif parameter in found:
            other = found[parameter]
            message = (
                f"Tensors {other.name} in {other.file.name} and {name} in {entry.file.name} "
                "are the same one."
            )
            foreign.append(CheckpointProblem(ProblemKind.EXTRA, message, name, entry.file.name))
        else:
            found[parameter] = entry
    return LanguageTensors(found, tuple(foreign))


def _parameter_name(tensor_name: str) -> str | None:
    """Parameter that a tensor fills; None for one that is not the language model's."""
    for prefix, replacement in LANGUAGE_PREFIXES.items():
        if tensor_name.startswith(prefix):
            return replacement + tensor_name.removeprefix(prefix)
    return None


def tensor_name(entries: Mapping[str, TensorEntry], parameter: str) -> str:
    """Name of a parameter's tensor; of one that is missing, as its neighbours are named."""
    if parameter in entries:
        return entries[parameter].name
    neighbour = entries[EMBEDDING].name if EMBEDDING in entries else ""
    kind, _, rest = parameter.partition(".")
    for prefix, replacement in LANGUAGE_PREFIXES.items():
        if replacement == f"{kind}." and neighbour.startswith(prefix.partition(".")[0]):
            return prefix + rest
    return parameter
