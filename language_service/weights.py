"""Builds the language model and fills it with its own tensors of the checkpoint, no others.

The model classes are those of transformers, on the meta device until the tensors come, so a
language replica never holds a byte of the vision transformer (`tensor_names` tells whose is what).
A rank of a tensor-parallel group reads its own part of every tensor (`sharding`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from common.checkpoint import NO_PROGRESS, load_tensors
from common.checkpoint_problem import CheckpointProblem, refuse
from common.errors import CheckpointError
from common.loading_progress import LoadingProgress
from common.model_config import ModelConfig
from common.model_files import list_tensors
from common.role_check import RoleCheck, check_role
from common.tensor_header import TensorEntry
from common.tensor_source import Source, StackedSource
from language_service.device_attention import attention_for
from language_service.sharding import WHOLE_MODEL, Rank, ShardingPlan, check_divides, indivisible
from language_service.tensor_names import EMBEDDING, HEAD, language_tensors, tensor_name

SUPPORTED_MODEL_TYPES = ("qwen2", "qwen3", "qwen3_moe", "gpt_oss")
# "longrope" is not here: its frequencies depend on the longest sequence of a batch.
SUPPORTED_ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3")

# Parameter of all experts -> the tensors of one expert that make it up.
EXPERT_TENSORS = {
    "gate_up_proj": ("gate_proj.weight", "up_proj.weight"),
    "down_proj": ("down_proj.weight",),
}


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model on the meta device and where its parameters come from.

    Attributes:
        text: Its configuration, that of one rank.
        entries: The tensors of this role, by checkpoint name.
        sources: For each of its parameters where the values come from.
        foreign: Of `LanguageTensors`.
    """

    text: PreTrainedConfig
    model: PreTrainedModel
    entries: Mapping[str, TensorEntry]
    sources: Mapping[str, Source]
    foreign: tuple[CheckpointProblem, ...]


def check_language_model(
    config: ModelConfig, tensors: Mapping[str, TensorEntry], rank: Rank = WHOLE_MODEL
) -> RoleCheck:
    """Compare the language model with the headers of a checkpoint; nothing is read.

    Args:
        config: Of the checkpoint.
        tensors: All of its tensors, by name.
        rank: Which part of the model is meant.

    Raises:
        CheckpointError: An unsupported architecture, of which no module can be built.
        ConfigError: It cannot be cut for so many ranks.
    """
    it = prepare_language_model(config, tensors, torch.bfloat16, rank, torch.device("meta"))
    return check_role(it.model, it.entries, it.sources, it.foreign)


def load_language_model(
    directory: Path,
    config: ModelConfig,
    dtype: torch.dtype,
    device: torch.device,
    rank: Rank = WHOLE_MODEL,
    progress: LoadingProgress = NO_PROGRESS,
) -> PreTrainedModel:
    """Load the causal language model of a checkpoint, ready for `LanguageEngine`.

    The output head is a tensor of its own wherever the checkpoint has one, whatever the
    configuration says: published checkpoints leave the key out or have it wrong.

    Args:
        directory: Of the model.
        config: Read from there.
        dtype: Element type to hold.
        device: Where to hold it.
        rank: Which part of it; sums over the ranks are added by `parallelise`.
        progress: Told of every read.

    Raises:
        CheckpointError: An unsupported architecture, or a tensor that is missing, extra,
            misshapen or of unknown purpose; the message names it.
        ConfigError: It cannot be cut for so many ranks.
    """
    it = prepare_language_model(config, list_tensors(directory), dtype, rank, device)
    refuse(it.foreign)
    model = it.model
    load_tensors(model, it.entries, it.sources, dtype, device, progress)
    model.tie_weights()
    # A buffer that no checkpoint holds; on the meta device it has no values.
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(config=it.text).to(device)
    model.train(False)
    return model


def ranks_obstacle(config: ModelConfig, num_ranks: int) -> str | None:
    """What keeps the language model from being cut for so many GPUs, in words; None for nothing.

    Raises:
        CheckpointError: An unsupported architecture.
    """
    return indivisible(_text_config(config), num_ranks)


def prepare_language_model(
    config: ModelConfig,
    tensors: Mapping[str, TensorEntry],
    dtype: torch.dtype,
    rank: Rank,
    device: torch.device,
) -> PreparedModel:
    """Build the model on the meta device and say what fills it.

    Args:
        config: Of the checkpoint.
        tensors: All of its tensors, by name.
        dtype: Element type to hold.
        rank: Which part of the model is meant.
        device: Where it is to run.

    Raises:
        CheckpointError: An unsupported architecture.
        ConfigError: It cannot be cut for so many ranks.
    """
    own = language_tensors(tensors)
    entries = own.entries
    text = _text_of(config, entries)
    if text.tie_word_embeddings and EMBEDDING in entries:
        entries[HEAD] = entries[EMBEDDING]
    plan = ShardingPlan(text, rank)
    model = _empty_model(plan.narrow_config, dtype, rank, device)
    return PreparedModel(
        plan.narrow_config,
        model,
        {entry.name: entry for entry in entries.values()},
        {name: _source(entries, name, tensor, plan) for name, tensor in model.state_dict().items()},
        own.foreign,
    )


def empty_language_model(
    config: ModelConfig, tensors: Mapping[str, TensorEntry], rank: Rank = WHOLE_MODEL
) -> PreTrainedModel:
    """Build what one rank holds of the language model on the meta device, in bfloat16.

    Args:
        config: Of the checkpoint.
        tensors: All of its tensors, by name; they say whether the head is one of its own.
        rank: Which part.

    Raises:
        CheckpointError: An unsupported architecture.
        ConfigError: It cannot be cut for so many ranks.
    """
    text = _text_of(config, language_tensors(tensors).entries)
    narrow = ShardingPlan(text, rank).narrow_config
    return _empty_model(narrow, torch.bfloat16, rank, torch.device("meta"))


def check_ranks(config: ModelConfig, num_ranks: int) -> None:
    """Check that the language model of a checkpoint can be cut for so many GPUs.

    Raises:
        ConfigError: Names what does not divide, and the sizes that work.
        CheckpointError: An unsupported architecture.
    """
    check_divides(_text_config(config), num_ranks)


def _empty_model(
    text: PreTrainedConfig, dtype: torch.dtype, rank: Rank, device: torch.device
) -> PreTrainedModel:
    """The module of one rank on the meta device, for the one where it is to run."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            text, attn_implementation=attention_for(device), dtype=dtype
        )
        if rank.size > 1:
            # The one layer whose width the configuration does not tell apart from another's.
            num_rows = text.vocab_size // rank.size
            model.lm_head = nn.Linear(text.hidden_size, num_rows, bias=False, dtype=dtype)
    return model


def _source(
    entries: Mapping[str, TensorEntry], parameter: str, tensor: torch.Tensor, plan: ShardingPlan
) -> Source:
    """Where a parameter comes from.

    Checkpoints of Qwen3-MoE hold every expert's matrices apart, those of GPT-OSS together.
    """
    block, _, kind = parameter.rpartition(".")
    if parameter in entries or not block.endswith(".mlp.experts"):
        return plan.source(tensor_name(entries, parameter), parameter)
    if kind not in EXPERT_TENSORS or f"{block}.0.{EXPERT_TENSORS[kind][0]}" not in entries:
        return plan.source(tensor_name(entries, parameter), parameter)
    experts = tuple(
        tuple(tensor_name(entries, f"{block}.{i}.{name}") for name in EXPERT_TENSORS[kind])
        for i in range(tensor.shape[0])
    )
    cut = plan.source(parameter, parameter)
    # An expert's own tensors lack the dimension that counts experts.
    dimension = max(cut.dimension - 1, 0)
    return StackedSource(experts, cut.part, cut.num_parts, dimension)


def _text_of(config: ModelConfig, entries: Mapping[str, TensorEntry]) -> PreTrainedConfig:
    """The configuration, its head tied only where the checkpoint has none."""
    text = _text_config(config)
    text.tie_word_embeddings = text.tie_word_embeddings and HEAD not in entries
    return text


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
