"""For each tensor-parallel size: does it go, what does a GPU hold then, how many tokens fit."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.model_config import ModelConfig
from deploy.model_check import ModelCheck
from deploy.sizing import Card, RoleMemory, StepLimits, kv_tokens, language_memory
from language_service.model_facts import LanguageFacts
from language_service.sharding import Rank
from language_service.weights import empty_language_model, ranks_obstacle

SIZES = (1, 2, 4, 8, 16)
NOTHING = RoleMemory(0, 0)


@dataclass(frozen=True, slots=True)
class ParallelChoice:
    """One tensor-parallel size of a language replica.

    Attributes:
        size: GPUs of a replica.
        obstacle: Why it does not go; empty where it does, and the rest has no meaning otherwise.
        memory: Of each GPU.
        kv_bytes_per_token: On each GPU.
        kv_tokens: That the KV cache holds.
    """

    size: int
    obstacle: str = ""
    memory: RoleMemory = NOTHING
    kv_bytes_per_token: int = 0
    kv_tokens: int = 0


def parallel_choices(
    check: ModelCheck, config: ModelConfig, limits: StepLimits, card: Card
) -> tuple[ParallelChoice, ...]:
    """Try every size that is usual.

    Args:
        check: Of a model whose language role can be built.
        config: Of that model.
        limits: The largest step.
        card: Each GPU.
    """
    return tuple(_choice(check, config, limits, card, size) for size in SIZES)


def suggested_choice(
    choices: Sequence[ParallelChoice], context_tokens: int
) -> ParallelChoice | None:
    """The smallest size that holds the longest request; else the one that holds most.

    Returns:
        None where the weights fit at no size.
    """
    for choice in choices:
        if choice.kv_tokens >= context_tokens:
            return choice
    most = max(choices, key=lambda choice: choice.kv_tokens, default=None)
    return most if most is not None and most.kv_tokens else None


def _choice(
    check: ModelCheck, config: ModelConfig, limits: StepLimits, card: Card, size: int
) -> ParallelChoice:
    obstacle = ranks_obstacle(config, size)
    if obstacle is not None:
        return ParallelChoice(size, f"the model has {obstacle}")
    rank = LanguageFacts.of(empty_language_model(config, check.tensors, Rank(0, size)))
    return ParallelChoice(
        size,
        memory=language_memory(rank, limits),
        kv_bytes_per_token=rank.kv_bytes_per_token,
        kv_tokens=kv_tokens(rank, limits, card),
    )
