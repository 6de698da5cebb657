"""The language model and its KV cache as one process holds them: whole, or the part of its rank."""

import sys
import time
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from common.checkpoint import weight_bytes
from common.config import LanguageServiceConfig
from common.devices import choose_device, choose_dtype
from common.loading_progress import loading_progress
from common.model_config import ModelConfig, load_model_config
from common.replica_server import ReplicaSpec
from language_service.block_tables import KvBlocks
from language_service.kv_cache import KvCache
from language_service.kv_sizing import CudaMemory, choose_kv_tokens
from language_service.model_tuning import tune
from language_service.parallel_layers import parallelise
from language_service.rank_group import RankGroup
from language_service.scheduler import EngineLimits
from language_service.sharding import WHOLE_MODEL, Rank
from language_service.weights import load_language_model


@dataclass(frozen=True, slots=True)
class RankModel:
    """A loaded model, or a part of one.

    Attributes:
        config: Of the checkpoint.
        model: Ready to run.
        limits: Of the engine that runs it.
        num_bytes: Of the weights that it holds.
    """

    config: ModelConfig
    model: PreTrainedModel
    limits: EngineLimits
    num_bytes: int

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.model.device


def load_rank_model(
    spec: ReplicaSpec, config: LanguageServiceConfig, rank: Rank = WHOLE_MODEL
) -> RankModel:
    """Load what a rank holds, in the order in which its device reads best.

    Raises:
        CheckpointError: The model directory is wrong.
        ConfigError: The model cannot be cut for so many ranks.
    """
    device = choose_device(spec.device)
    dtype = choose_dtype(config.dtype, device)
    torch.set_num_threads(config.num_threads)
    model_config = load_model_config(spec.model_dir)
    name = spec.name if rank.size == 1 else f"{spec.name} rank {rank.index}"
    progress = loading_progress(name, time.monotonic, sys.stderr)
    model = load_language_model(spec.model_dir, model_config, dtype, device, rank, progress)
    num_bytes = weight_bytes(model)
    tune(model, config.compile)
    limits = EngineLimits(
        max_context_tokens=config.context_tokens(model_config.max_context_tokens),
        max_batch_tokens=config.batch_tokens(device.type == "cuda"),
        max_sequences=config.max_sequences,
    )
    return RankModel(model_config, model, limits, num_bytes)


def make_cache(
    loaded: RankModel,
    config: LanguageServiceConfig,
    salt: bytes = b"",
    group: RankGroup | None = None,
) -> KvCache:
    """Complete a model by the other ranks, and make its KV cache; all ranks at the same time.

    Args:
        loaded: What this rank holds.
        config: Says how large the cache is, or leaves it to the device.
        salt: Of the cache's prefixes.
        group: All ranks; None where there is one. The cache is as large as the fullest device
            allows.

    Raises:
        StartupError: A device has no room for the longest request.
        RankLostError: A rank is gone, or does not come in time.
    """
    model, device = loaded.model, loaded.device
    if group is not None:
        parallelise(model, group)
    meter = CudaMemory(device) if device.type == "cuda" else None
    num_tokens = choose_kv_tokens(model, config, loaded.limits, meter)
    if group is not None:
        num_tokens = group.smallest(num_tokens)
    blocks = KvBlocks(num_tokens, config.kv_block_size, salt, config.prefix_cache)
    return KvCache.for_model(model, blocks)
