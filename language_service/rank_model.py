"""The language model as one process holds it: all of it, or the part of its rank."""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from common.checkpoint import weight_bytes
from common.config import LanguageServiceConfig
from common.devices import choose_device, choose_dtype
from common.model_config import load_model_config
from common.replica_server import ReplicaSpec
from language_service.packed_linear import pack_linears
from language_service.sharding import WHOLE_MODEL, Rank
from language_service.weights import load_language_model


@dataclass(frozen=True, slots=True)
class RankModel:
    """A loaded model, or a part of one.

    Attributes:
        model: Ready to run.
        device: Where it is.
        num_bytes: Of the weights that it holds.
    """

    model: PreTrainedModel
    device: torch.device
    num_bytes: int


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
    model = load_language_model(spec.model_dir, model_config, dtype, device, rank)
    num_bytes = weight_bytes(model)
    pack_linears(model)
    return RankModel(model, device, num_bytes)
