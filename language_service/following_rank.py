"""Every rank but the first: holds its part of the model, and runs the steps that it is told."""

import logging
import time

import torch
from transformers import PreTrainedModel

from common.config import LanguageServiceConfig
from common.replica_server import ReplicaSpec
from language_service.block_tables import KvBlocks
from language_service.kv_cache import KvCache
from language_service.model_runner import ModelRunner
from language_service.parallel_layers import parallelise
from language_service.rank_group import GroupSettings, RankGroup, join_group
from language_service.rank_model import load_rank_model
from language_service.sharding import Rank
from language_service.step_wire import (
    Order,
    decode_clear,
    decode_copies,
    decode_step,
    num_visual_rows,
)

log = logging.getLogger(__name__)


class FollowingRank:
    """One rank of a group, without requests of its own."""

    def __init__(self, spec: ReplicaSpec, config: LanguageServiceConfig, rank: Rank) -> None:
        """Load this rank's part of the model.

        Args:
            spec: Of the replica.
            config: Of the replica.
            rank: Which part.

        Raises:
            CheckpointError: The model directory is wrong.
        """
        self._rank = rank
        self._loaded = load_rank_model(spec, config, rank)
        self._timeout_seconds = config.rank_timeout_seconds
        log.info("rank %d ready: %d MB of weights", rank.index, self._loaded.num_bytes >> 20)

    def follow(self, port: int) -> None:
        """Join the group and do what the first rank tells until it tells the end.

        Args:
            port: Of the group's store on this node.

        Raises:
            RankLostError: Another rank is gone, or does not come in time.
        """
        model = self._loaded.model
        settings = GroupSettings(self._loaded.device, self._timeout_seconds)
        group = join_group(self._rank, port, settings)
        parallelise(model, group)
        Follower(model, group).run()


class Follower:
    """Runs what the first rank tells.

    Args:
        model: This rank's part, completed by `parallelise`.
        group: All ranks.
    """

    def __init__(self, model: PreTrainedModel, group: RankGroup) -> None:
        self._model = model
        self._group = group

    def run(self) -> None:
        """Follow until the first rank tells the end.

        Raises:
            RankLostError: Another rank is gone, or does not come in time.
        """
        _, num_tokens, block_size = self._group.hear().tolist()
        kv_cache = KvCache.for_model(self._model, KvBlocks(num_tokens, block_size))
        runner = ModelRunner(self._model, kv_cache, time.monotonic)
        while True:
            numbers = self._group.hear()
            order = Order(int(numbers[0]))
            if order is Order.STEP:
                visual = self._visual(num_visual_rows(numbers), runner.hidden_size)
                runner.run(decode_step(numbers, visual, block_size))
            elif order is Order.COPY:
                runner.copy(decode_copies(numbers))
            elif order is Order.CLEAR:
                runner.clear(decode_clear(numbers, block_size))
            else:
                return

    def _visual(self, num_rows: int, hidden_size: int) -> torch.Tensor:
        model = self._model
        rows = torch.empty(num_rows, hidden_size, dtype=model.dtype, device=model.device)
        return self._group.spread(rows) if num_rows else rows
