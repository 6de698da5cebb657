"""A tensor-parallel engine whose other ranks are threads of the test's own process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from common.model_config import load_model_config
from language_service.block_tables import KvBlocks
from language_service.engine import LanguageEngine
from language_service.following_rank import Follower
from language_service.kv_cache import KvCache
from language_service.leading_runner import LeadingRunner
from language_service.packed_linear import pack_linears
from language_service.parallel_layers import parallelise
from language_service.rank_group import GroupSettings, RankGroup, RankStore, join_group
from language_service.scheduler import EngineLimits
from language_service.sharding import Rank
from language_service.step_wire import encode_end
from language_service.weights import load_language_model
from tests.language_service.harness import NumberTokenizer, counting_clock

CPU = torch.device("cpu")
SETTINGS = GroupSettings(CPU, timeout_seconds=20.0)
END_SECONDS = 60.0


class RecordedHead(nn.Module):
    """A head that keeps what it has computed."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.logits: list[torch.Tensor] = []

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(rows)
        self.logits.append(logits.clone())
        return logits


@dataclass
class RankThread:
    """One rank that follows.

    Attributes:
        follower: Its model and group.
        error: What ended it, if it was not the first rank.
    """

    follower: Follower
    error: list[BaseException] = field(default_factory=list)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.follower.run()
        except BaseException as error:  # noqa: BLE001  # shown by the test's own thread
            self.error.append(error)


@dataclass
class ParallelEngine:
    """An engine over all ranks.

    Attributes:
        engine: Of the first rank.
        head: Its head, joined.
        group: The first rank's.
        followers: The other ranks.
    """

    engine: LanguageEngine
    head: RecordedHead
    group: RankGroup
    followers: list[RankThread]


@contextmanager
def parallel_engine(
    directory: Path, limits: EngineLimits, num_ranks: int, num_kv_tokens: int = 2048
) -> Iterator[ParallelEngine]:
    """Load a checkpoint in parts; at the end every rank has ended without an error."""
    models = [load_part(directory, Rank(index, num_ranks)) for index in range(num_ranks)]
    groups = form_groups(num_ranks)
    followers = []
    for model, group in zip(models, groups, strict=True):
        parallelise(model, group)
        if group.rank.index:
            cache = KvCache.for_model(model, KvBlocks(num_kv_tokens))
            followers.append(RankThread(Follower(model, cache, group)))
            followers[-1].thread.start()
    head = RecordedHead(models[0].lm_head)
    models[0].lm_head = head
    cache = KvCache.for_model(models[0], KvBlocks(num_kv_tokens))
    clock = counting_clock()
    runner = LeadingRunner(models[0], cache, clock, groups[0])
    engine = LanguageEngine(runner, NumberTokenizer(), limits, clock)
    try:
        yield ParallelEngine(engine, head, groups[0], followers)
    finally:
        groups[0].tell(encode_end())
        for follower in followers:
            follower.thread.join(END_SECONDS)
    for follower in followers:
        assert not follower.thread.is_alive()
        assert not follower.error


def load_part(directory: Path, rank: Rank) -> PreTrainedModel:
    """One rank's part of a checkpoint, packed as replicas do."""
    config = load_model_config(directory)
    model = load_language_model(directory, config, torch.float32, CPU, rank)
    pack_linears(model)
    return model


def form_groups(num_ranks: int, settings: GroupSettings = SETTINGS) -> list[RankGroup]:
    """The same group as each of its ranks sees it, first rank first."""
    store = RankStore(settings.timeout_seconds)
    groups: dict[int, RankGroup] = {}

    def join(index: int) -> None:
        groups[index] = join_group(Rank(index, num_ranks), store.port, settings)

    threads = [threading.Thread(target=join, args=(index,)) for index in range(1, num_ranks)]
    for thread in threads:
        thread.start()
    groups[0] = store.form(num_ranks, settings)
    for thread in threads:
        thread.join(END_SECONDS)
    return [groups[index] for index in range(num_ranks)]
