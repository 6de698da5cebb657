"""Builds the language model and fills it with its own tensors of the checkpoint, no others.

The model classes are those of transformers, on the meta device until the tensors come, so a
language replica never holds a byte of the vision transformer. Three ways of naming are read: the
original checkpoints', transformers' own, and the one transformers wrote before version 5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from common.checkpoint import (
    RoleCheck,
    Source,
    StackedSource,
    TensorSource,
    check_role,
    foreign_problem,
    load_tensors,
)
from common.checkpoint_problem import CheckpointProblem, ProblemKind, refuse
from common.errors import CheckpointError
from common.model_config import ModelConfig
from common.model_files import list_tensors
from common.tensor_header import TensorEntry
from language_service.attention import PAGED_ATTENTION

SUPPORTED_MODEL_TYPES = ("qwen2", "qwen3", "qwen3_moe", "gpt_oss")
# "longrope" is not here: its frequencies depend on the longest sequence of a batch.
SUPPORTED_ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3")

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
# Parameter of all experts -> the tensors of one expert that make it up.
EXPERT_TENSORS = {
    "gate_up_proj": ("gate_proj.weight", "up_proj.weight"),
    "down_proj": ("down_proj.weight",),
}
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A model on the meta device and where its parameters come from.

    Attributes:
        entries: The tensors of this role, by checkpoint name.
        foreign: Problems with tensors of no role, or with two for one parameter.
    """

    text: PreTrainedConfig
    model: PreTrainedModel
    entries: Mapping[str, TensorEntry]
    sources: Mapping[str, Source]
    foreign: tuple[CheckpointProblem, ...]


def check_language_model(config: ModelConfig, tensors: Mapping[str, TensorEntry]) -> RoleCheck:
    """Compare the language model with the headers of a checkpoint; nothing is read.

    Args:
        config: Of the checkpoint.
        tensors: All of its tensors, by name.

    Raises:
        CheckpointError: An unsupported architecture, of which no module can be built.
    """
    it = _prepare(config, tensors, torch.bfloat16)
    return check_role(it.model, it.entries, it.sources, it.foreign)


def load_language_model(
    directory: Path, config: ModelConfig, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """Load the causal language model of a checkpoint, ready for `LanguageEngine`.

    The output head is a tensor of its own wherever the checkpoint has one, whatever the
    configuration says: published checkpoints leave the key out or have it wrong.

    Raises:
        CheckpointError: An unsupported architecture, or a tensor that is missing, extra,
            misshapen or of unknown purpose; the message names it.
    """
    it = _prepare(config, list_tensors(directory), dtype)
    refuse(it.foreign)
    model = it.model
    load_tensors(model, it.entries, it.sources, dtype, device)
    model.tie_weights()
    # A buffer that no checkpoint holds; on the meta device it has no values.
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(config=it.text).to(device)
    model.train(False)
    return model


def _prepare(
    config: ModelConfig, tensors: Mapping[str, TensorEntry], dtype: torch.dtype
) -> _Prepared:
    foreign: list[CheckpointProblem] = []
    entries = _language_tensors(tensors, foreign)
    text = _text_config(config)
    text.tie_word_embeddings = text.tie_word_embeddings and HEAD not in entries
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            text, attn_implementation=PAGED_ATTENTION, dtype=dtype
        )
    if text.tie_word_embeddings and EMBEDDING in entries:
        entries[HEAD] = entries[EMBEDDING]
    return _Prepared(
        text,
        model,
        {entry.name: entry for entry in entries.values()},
        {name: _source(entries, name, tensor) for name, tensor in model.state_dict().items()},
        tuple(foreign),
    )


def _source(entries: Mapping[str, TensorEntry], parameter: str, tensor: torch.Tensor) -> Source:
    """Where a parameter comes from.

    Checkpoints of Qwen3-MoE hold every expert's matrices apart, those of GPT-OSS together.
    """
    block, _, kind = parameter.rpartition(".")
    if parameter in entries or not block.endswith(".mlp.experts"):
        return TensorSource(_tensor_name(entries, parameter))
    if kind not in EXPERT_TENSORS or f"{block}.0.{EXPERT_TENSORS[kind][0]}" not in entries:
        return TensorSource(_tensor_name(entries, parameter))
    return StackedSource(
        tuple(
            tuple(_tensor_name(entries, f"{block}.{i}.{name}") for name in EXPERT_TENSORS[kind])
            for i in range(tensor.shape[0])
        )
    )


def _tensor_name(entries: Mapping[str, TensorEntry], parameter: str) -> str:
    """Name of a parameter's tensor; of one that is missing, as its neighbours are named."""
    if parameter in entries:
        return entries[parameter].name
    neighbour = entries[EMBEDDING].name if EMBEDDING in entries else ""
    kind, _, rest = parameter.partition(".")
    for prefix, replacement in LANGUAGE_PREFIXES.items():
        if replacement == f"{kind}." and neighbour.startswith(prefix.partition(".")[0]):
            return prefix + rest
    return parameter


def _text_config(config: ModelConfig) -> PreTrainedConfig:
    document = dict(config.text)
    model_type = document.pop("model_type", None)
    if model_type not in SUPPORTED_MODEL_TYPES:
        raise CheckpointError(
            f"The language model is of type {model_type!r}; "
            f"supported are {', '.join(SUPPORTED_MODEL_TYPES)}."
        )
    try:
        text = AutoConfig.for_model(model_type, **document)
    except (StrictDataclassError, ValueError, TypeError, KeyError) as cause:
        raise CheckpointError(
            f"The language model's configuration is not valid: {cause}"
        ) from cause
    rope_type = text.rope_parameters["rope_type"]
    if rope_type not in SUPPORTED_ROPE_TYPES:
        raise CheckpointError(f"Rotary embeddings of type {rope_type!r} are not supported.")
    return text


def _language_tensors(
    tensors: Mapping[str, TensorEntry], foreign: list[CheckpointProblem]
) -> dict[str, TensorEntry]:
    """The language model's tensors, by the name of the parameter that each one fills."""
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
    return found


def _parameter_name(tensor_name: str) -> str | None:
    """Parameter that a tensor fills; None for one that is not the language model's."""
    for prefix, replacement in LANGUAGE_PREFIXES.items():
        if tensor_name.startswith(prefix):
            return replacement + tensor_name.removeprefix(prefix)
    return None
