"""Every rank but the first: holds its part of the model, and runs the steps that it is told."""

import logging
import time

import torch
from transformers import PreTrainedModel

from common.config import LanguageServiceConfig
from common.replica_server import ReplicaSpec
from language_service.kv_cache import KvCache
from language_service.model_runner import ModelRunner
from language_service.rank_group import GroupSettings, RankGroup, join_group
from language_service.rank_model import load_rank_model, make_cache
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
        self._config = config
        self._loaded = load_rank_model(spec, config, rank)
        log.info("rank %d ready: %d MB of weights", rank.index, self._loaded.num_bytes >> 20)

    def follow(self, port: int) -> None:
        """Join the group and do what the first rank tells until it tells the end.

        Args:
            port: Of the group's store on this node.

        Raises:
            StartupError: This rank's device has no room for the longest request.
            RankLostError: Another rank is gone, or does not come in time.
        """
        settings = GroupSettings(self._loaded.device, self._config.rank_timeout_seconds)
        group = join_group(self._rank, port, settings)
        kv_cache = make_cache(self._loaded, self._config, group=group)
        Follower(self._loaded.model, kv_cache, group).run()


class Follower:
    """Runs what the first rank tells.

    Args:
        model: This rank's part, completed by `parallelise`.
        kv_cache: Of its heads.
        group: All ranks.
    """

    def __init__(self, model: PreTrainedModel, kv_cache: KvCache, group: RankGroup) -> None:
        self._model = model
        self._kv_cache = kv_cache
        self._group = group

    def run(self) -> None:
        """Follow until the first rank tells the end.

        Raises:
            RankLostError: Another rank is gone, or does not come in time.
        """
        runner = ModelRunner(self._model, self._kv_cache, time.monotonic)
        block_size = self._kv_cache.blocks.block_size
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
