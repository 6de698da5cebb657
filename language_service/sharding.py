"""How a language model is cut for tensor parallelism: pure data, and the sizes that it allows.

Every rank holds a model of the same classes with fewer heads and narrower feed-forward layers, so
nothing that computes has to know of ranks. Matrices that widen are cut by columns (rows of the
stored tensor), matrices that lead back to the hidden size by rows, and what the latter give is
added up over the ranks (`parallel_layers`). What is not cut every rank holds whole.

- Query heads divide. Key and value heads do too, or several ranks hold the same one: rank r of
  n holds head r * heads // n, the one that its query heads read.
- Experts are cut inside, each rank holding its columns of all of them: every rank has the same
  work whatever the tokens choose, and no token travels.
- The embedding table is whole on every rank: a look-up reads rows, not the table, and a cut one
  would cost a sum per step. The head is cut by vocabulary: it is read whole for every token, a
  seventh of an 8B model, and would keep one rank while the others wait.
- A bias behind a matrix that is cut by rows is held by the first rank alone; others hold zeros.
"""

import copy
import re
from dataclasses import dataclass
from enum import Enum, auto

from transformers import PreTrainedConfig

from common.errors import CheckpointError, ConfigError
from common.tensor_source import TensorSource

LARGEST_GROUP = 64


@dataclass(frozen=True, slots=True)
class Rank:
    """Which part of a model a process holds: `index` of `size`; by itself, all of it."""

    index: int = 0
    size: int = 1


WHOLE_MODEL = Rank()


class CutBy(Enum):
    """Into how many parts a parameter is cut."""

    NONE = auto()
    RANKS = auto()
    KV_HEADS = auto()
    FIRST_RANK = auto()


@dataclass(frozen=True, slots=True)
class Cut:
    """How one parameter is cut.

    Attributes:
        by: Into how many parts, or who alone holds it.
        dimension: Of the parameter.
        num_fused: Matrices that lie behind each other along it, each cut for itself.
    """

    by: CutBy
    dimension: int = 0
    num_fused: int = 1


_WHOLE = Cut(CutBy.NONE)
_ROWS, _COLUMNS = Cut(CutBy.RANKS, 0), Cut(CutBy.RANKS, 1)
_KV_ROWS = Cut(CutBy.KV_HEADS, 0)
_FIRST_RANK = Cut(CutBy.FIRST_RANK)

# Of parameters as PyTorch stores them, [out, in]; what is said of a layer goes for every layer.
_COMMON = {
    "model.embed_tokens.weight": _WHOLE,
    "model.norm.weight": _WHOLE,
    "lm_head.weight": _ROWS,
    "input_layernorm.weight": _WHOLE,
    "post_attention_layernorm.weight": _WHOLE,
    "self_attn.q_norm.weight": _WHOLE,
    "self_attn.k_norm.weight": _WHOLE,
    "self_attn.q_proj.weight": _ROWS,
    "self_attn.q_proj.bias": _ROWS,
    "self_attn.k_proj.weight": _KV_ROWS,
    "self_attn.k_proj.bias": _KV_ROWS,
    "self_attn.v_proj.weight": _KV_ROWS,
    "self_attn.v_proj.bias": _KV_ROWS,
    "self_attn.o_proj.weight": _COLUMNS,
    "self_attn.o_proj.bias": _FIRST_RANK,
}
_DENSE = {
    "mlp.gate_proj.weight": _ROWS,
    "mlp.up_proj.weight": _ROWS,
    "mlp.down_proj.weight": _COLUMNS,
}
_QWEN3_MOE = {
    "mlp.gate.weight": _WHOLE,
    # [experts, gate rows above up rows, h] and [experts, h, columns].
    "mlp.experts.gate_up_proj": Cut(CutBy.RANKS, 1, num_fused=2),
    "mlp.experts.down_proj": Cut(CutBy.RANKS, 2),
}
_GPT_OSS = {
    "self_attn.sinks": _ROWS,
    "mlp.router.weight": _WHOLE,
    "mlp.router.bias": _WHOLE,
    # Gate and up columns by turns, so that a run of them holds whole pairs: [experts, h, pairs].
    "mlp.experts.gate_up_proj": Cut(CutBy.RANKS, 2),
    "mlp.experts.gate_up_proj_bias": Cut(CutBy.RANKS, 1),
    "mlp.experts.down_proj": Cut(CutBy.RANKS, 1),
    "mlp.experts.down_proj_bias": _FIRST_RANK,
}
CUTS = {
    "qwen2": _COMMON | _DENSE,
    "qwen3": _COMMON | _DENSE,
    "qwen3_moe": _COMMON | _DENSE | _QWEN3_MOE,
    "gpt_oss": _COMMON | _GPT_OSS,
}
_LAYER = re.compile(r"^model\.layers\.\d+\.")


class ShardingPlan:
    """What one rank holds of one model.

    Args:
        text: Configuration of the whole language model.
        rank: Which part.

    Raises:
        ConfigError: It cannot be cut so; the message names what does not divide.
    """

    def __init__(self, text: PreTrainedConfig, rank: Rank) -> None:
        check_divides(text, rank.size)
        self._rank = rank
        self._cuts = CUTS[text.model_type]
        self._num_kv_parts = min(rank.size, text.num_key_value_heads)
        self.narrow_config = _narrowed(text, rank.size)
        """Configuration of the model that this rank runs."""

    def cut(self, parameter: str) -> Cut:
        """How a parameter is cut.

        Raises:
            CheckpointError: The model has a parameter that this table does not know.
        """
        cut = self._cuts.get(_LAYER.sub("", parameter))
        if cut is None:
            raise CheckpointError(f"It is not known how to cut {parameter} for several GPUs.")
        return cut

    def source(self, tensor_name: str, parameter: str) -> TensorSource:
        """Which part of a tensor fills a parameter that is stored as it is held."""
        rank = self._rank
        if rank.size == 1:
            return TensorSource(tensor_name)
        cut = self.cut(parameter)
        if cut.by is CutBy.NONE:
            return TensorSource(tensor_name)
        if cut.by is CutBy.FIRST_RANK:
            return TensorSource(tensor_name, is_read=rank.index == 0)
        num_parts = self._num_kv_parts if cut.by is CutBy.KV_HEADS else rank.size
        part = rank.index * num_parts // rank.size
        return TensorSource(tensor_name, part, num_parts, cut.dimension, cut.num_fused)


def check_divides(text: PreTrainedConfig, num_ranks: int) -> None:
    """Check that a language model can be cut for so many GPUs.

    Raises:
        ConfigError: Names what does not divide, and the sizes that work.
    """
    problem = indivisible(text, num_ranks)
    if problem is not None:
        sizes = ", ".join(map(str, group_sizes(text)))
        raise ConfigError(
            f"language.placement.tensor_parallel_size is {num_ranks}, but the model has "
            f"{problem}; sizes that work are {sizes}."
        )


def group_sizes(text: PreTrainedConfig) -> tuple[int, ...]:
    """Numbers of GPUs for which a language model can be cut, 1 first."""
    sizes = range(1, min(LARGEST_GROUP, text.num_attention_heads) + 1)
    return tuple(size for size in sizes if indivisible(text, size) is None)


def indivisible(text: PreTrainedConfig, num_ranks: int) -> str | None:
    """The first number of a model that so many ranks do not divide, in words."""
    numbers = {"attention heads": text.num_attention_heads, **_widths(text)}
    for name, number in numbers.items():
        if number % num_ranks:
            return f"{number} {name}"
    num_kv_heads = text.num_key_value_heads
    if num_kv_heads % num_ranks and num_ranks % num_kv_heads:
        return f"{num_kv_heads} key and value heads"
    return None


def _widths(text: PreTrainedConfig) -> dict[str, int]:
    """What else is cut, by name."""
    widths = {"tokens in its vocabulary": text.vocab_size}
    if text.model_type == "qwen3_moe":
        widths["columns in each expert"] = text.moe_intermediate_size
        if not text.mlp_only_layers and text.decoder_sparse_step == 1:
            return widths
    name = "each expert" if text.model_type == "gpt_oss" else "each feed-forward layer"
    return widths | {f"columns in {name}": text.intermediate_size}


def _narrowed(text: PreTrainedConfig, num_ranks: int) -> PreTrainedConfig:
    """The configuration of a rank's own model; that of the whole one where there is one rank."""
    if num_ranks == 1:
        return text
    narrow = copy.deepcopy(text)
    # No longer what follows from the width and the number of heads.
    head_dim = getattr(text, "head_dim", None)
    narrow.head_dim = head_dim or text.hidden_size // text.num_attention_heads
    narrow.num_attention_heads = text.num_attention_heads // num_ranks
    narrow.num_key_value_heads = max(text.num_key_value_heads // num_ranks, 1)
    narrow.intermediate_size = text.intermediate_size // num_ranks
    if text.model_type == "qwen3_moe":
        narrow.moe_intermediate_size = text.moe_intermediate_size // num_ranks
    narrow.tie_word_embeddings = False
    return narrow
