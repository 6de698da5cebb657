"""The first rank's model runner: tells the others what it is about to do, then does its part.

It alone schedules and samples. Steps of a group are not captured (`graphed_decode`): a capture that
failed on one rank would leave it with steps of other sizes. Whatever fails in the middle of a step
leaves the ranks at different places, from where no later step can be right; so it ends the replica.
"""

from collections.abc import Callable, Iterable

import torch
from transformers import PreTrainedModel

from common.errors import RankLostError
from language_service.block_tables import BlockTable, SlotCopy
from language_service.kv_cache import KvCache
from language_service.model_runner import ModelRunner
from language_service.rank_group import RankGroup
from language_service.sampler import SampledTokens
from language_service.scheduler import StepPlan
from language_service.step_wire import encode_clear, encode_copies, encode_step


class LeadingRunner(ModelRunner):
    """A `ModelRunner` that others follow.

    Args:
        model: The first rank's part, completed by `parallelise`.
        kv_cache: Of its heads.
        clock: Seconds, monotonic.
        group: All ranks.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        kv_cache: KvCache,
        clock: Callable[[], float],
        group: RankGroup,
    ) -> None:
        super().__init__(model, kv_cache, clock)
        self._group = group

    def copy(self, copies: Iterable[SlotCopy]) -> None:
        """Copy keys and values on all ranks."""
        copies = tuple(copies)
        self._group.tell(encode_copies(copies))
        super().copy(copies)

    def run(self, plan: StepPlan) -> SampledTokens:
        """Compute a step on all ranks, and sample here.

        Raises:
            RankLostError: The ranks no longer go together.
        """
        encoded = encode_step(plan)
        self._group.tell(encoded.numbers)
        try:
            if encoded.visual:
                self._group.spread(torch.cat(encoded.visual))
            return super().run(plan)
        except RuntimeError as cause:
            raise RankLostError("A step of the first rank failed.") from cause

    def clear(self, table: BlockTable) -> None:
        """Zero what a sequence has written, on all ranks."""
        self._group.tell(encode_clear(table))
        super().clear(table)
