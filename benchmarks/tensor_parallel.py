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
from transformers import PreTrainedModel

from common.config import LanguageServiceConfig
from common.model_config import load_model_config
from common.replica_server import ReplicaSpec
from common.result import Goal, Result
from language_service.block_tables import KvBlocks
from language_service.engine import LanguageEngine
from language_service.following_rank import FollowingRank
from language_service.kv_cache import KvCache
from language_service.leading_runner import LeadingRunner
from language_service.model_runner import ModelRunner
from language_service.rank_group import GroupSettings, RankGroup, RankStore
from language_service.rank_model import load_rank_model, make_cache
from language_service.scheduler import EngineLimits
from language_service.sharding import WHOLE_MODEL, Rank
from language_service.step_wire import encode_end
from language_service.weights import load_language_model
from tests.language_service.harness import (
    NumberTokenizer,
    build_model,
    greedy,
    mixed_prompts,
    run,
    submit,
)
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


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What an engine is made of.

    Attributes:
        model: Whole, or the first rank's part.
        kv_cache: Of its heads.
        group: All ranks; None where there is one.
    """

    model: PreTrainedModel
    kv_cache: KvCache
    group: RankGroup | None = None


def follow(spec: ReplicaSpec, rank: Rank, port: int) -> None:
    """Be one of the other ranks; a process of its own."""
    torch.set_num_threads(1)
    FollowingRank(spec, SERVICE, rank).follow(port)


@contextmanager
def two_ranks(directory: Path) -> Iterator[Arrangement]:
    """The first of two ranks; the other is a process."""
    spec = ReplicaSpec("language-0", directory, "cpu")
    store = RankStore(SETTINGS.timeout_seconds)
    spawned = multiprocessing.get_context("spawn")
    other: BaseProcess = spawned.Process(
        target=follow, args=(spec, Rank(1, NUM_RANKS), store.port), daemon=True
    )
    other.start()
    loaded = load_rank_model(spec, SERVICE, Rank(0, NUM_RANKS))
    group = store.form(NUM_RANKS, SETTINGS)
    yield Arrangement(loaded.model, make_cache(loaded, SERVICE, group=group), group)
    group.tell(encode_end())
    other.join()


def one_rank(directory: Path, *, is_packed: bool) -> Arrangement:
    """The whole model in this process."""
    if is_packed:
        loaded = load_rank_model(ReplicaSpec("language-0", directory, "cpu"), SERVICE)
        return Arrangement(loaded.model, make_cache(loaded, SERVICE))
    config = load_model_config(directory)
    model = load_language_model(directory, config, torch.float32, CPU, WHOLE_MODEL)
    return Arrangement(model, KvCache.for_model(model, KvBlocks(2048)))


def compute(arrangement: Arrangement) -> Outcome:
    """Answer all prompts."""
    model = arrangement.model
    model.lm_head = head = RecordedHead(model.lm_head)
    clock, cache, group = time.monotonic, arrangement.kv_cache, arrangement.group
    runner = ModelRunner(model, cache, clock)
    if group is not None:
        runner = LeadingRunner(model, cache, clock, group)
    limits = EngineLimits(max_context_tokens=256, max_batch_tokens=64, max_sequences=8)
    engine = LanguageEngine(runner, NumberTokenizer(), limits, clock)
    answers = [
        submit(engine, str(index), prompt, greedy(MAX_TOKENS))
        for index, prompt in enumerate(mixed_prompts())
    ]
    began = time.perf_counter()
    run(engine)
    seconds = time.perf_counter() - began
    logits = [each for each in head.logits if each.numel()]
    return Outcome(logits, [answer.token_ids for answer in answers], seconds)


def measure(kind: str, width: float, folder: Path) -> dict[str, object]:
    """One row: a kind of model, initialised so widely."""
    config = copy.deepcopy(CONFIGS[kind])
    config.initializer_range = width
    micro = folder / "micro"
    if not micro.exists():
        build_checkpoint(micro, CheckpointOptions(shape=MICRO, dtype="float32"))
    model = randomised(build_model("eager", config))
    directory = write_checkpoint(micro, model, folder / f"{kind}-{width}")
    alone, unpacked = (compute(one_rank(directory, is_packed=each)) for each in (True, False))
    with two_ranks(directory) as arrangement:
        parallel = compute(arrangement)
    return {
        "model": kind,
        "initializer range": width,
        "largest logit": max(float(each.abs().max()) for each in alone.logits),
        "error of TP 2": parallel.error(alone),
        "error of unpacked weights": unpacked.error(alone),
        "same tokens": parallel.answers == alone.answers,
        "seconds on 1 rank": alone.seconds,
        "seconds on 2 ranks": parallel.seconds,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = Result()
    errors: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for width in (INITIALISED, WIDE):
            for kind in CONFIGS:
                row = measure(kind, width, Path(folder))
                result.rows.append(row)
                if width == INITIALISED:
                    errors.append(float(str(row["error of TP 2"])))
    result.goals.append(Goal(GOAL, max(errors), TARGET, "lower"))
    result.report(arguments.json)


if __name__ == "__main__":
    main()
