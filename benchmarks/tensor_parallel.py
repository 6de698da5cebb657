"""How far the logits of two ranks are from those of one, and what the second rank costs on a CPU.

    python -m benchmarks.tensor_parallel --json FILE

Each kind of language model is made small with random weights, once as transformers initialises it
and once ten times as wide, where no two logits come near each other. The same prompts, texts and
embeddings, go through the engine on one rank and on two, which are processes and add up over gloo;
every logit of every step is compared. For scale, the same is done on one rank with and without
packed weights: what another order of the same sums does to float32. The goal is for models as they
are initialised; all cases are shown. Times are of all steps together, on one machine: two ranks
share its cores, so they show what telling and adding up costs and not what another GPU brings.
"""

import argparse
import copy
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from common.config import LanguageServiceConfig
from common.model_config import load_model_config
from common.replica_server import ReplicaSpec
from common.result import Goal, Result
from language_service.block_tables import KvBlocks
from language_service.engine import LanguageEngine
from language_service.following_rank import FollowingRank
from language_service.kv_cache import KvCache
from language_service.rank_group import GroupSettings, RankGroup, RankStore
from language_service.rank_model import load_rank_model, make_cache
from language_service.sharding import WHOLE_MODEL, Rank
from language_service.step_wire import encode_end
from language_service.weights import load_language_model
from tests.language_service.harness import NumberTokenizer, greedy, mixed_prompts, run, submit
from tests.language_service.language_models import CONFIGS, randomised, write_checkpoint
from tests.language_service.ranks import RecordedHead
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO

GOAL = "TP 2 (gloo) max logit error vs TP 1, float32"
TARGET = 1e-5
NUM_RANKS = 2
MAX_TOKENS = 24
CPU = torch.device("cpu")
SETTINGS = GroupSettings(CPU, timeout_seconds=120.0)
# transformers' own, and one whose logits lie far apart.
INITIALISED, WIDE = 0.02, 0.2
SERVICE = LanguageServiceConfig(
    dtype="float32", kv_tokens=2048, max_batch_tokens=64, max_sequences=8, max_context_tokens=256
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one arrangement has computed.

    Attributes:
        logits: Of every step that has any, [rows, vocabulary].
        answers: Token ids of every answer.
        seconds: Of all steps.
    """

    logits: list[torch.Tensor]
    answers: list[list[int]]
    seconds: float

    def error(self, other: "Outcome") -> float:
        """Largest difference of two logits."""
        pairs = zip(self.logits, other.logits, strict=True)
        return max(float((one - two).abs().max()) for one, two in pairs)
