"""A group that no longer goes together ends its engine; no request is told that it has failed."""

import threading

import pytest
import torch
from torch import nn

from common.engine_thread import EngineThread
from common.errors import RankLostError
from language_service.attention import PAGED_ATTENTION
from language_service.block_tables import KvBlocks
from language_service.engine import LanguageEngine
from language_service.kv_cache import KvCache
from language_service.leading_runner import LeadingRunner
from tests.language_service.harness import (
    LIMITS,
    NumberTokenizer,
    build_model,
    greedy,
    submit,
    text_prompt,
)
from tests.language_service.ranks import form_groups


def leading_engine(*, is_broken: bool = False) -> LanguageEngine:
    """An engine whose one follower is gone, or whose own model fails."""
    first, second = form_groups(2)
    model = build_model(PAGED_ATTENTION)
    if is_broken:
        model.lm_head = Broken()
        threading.Thread(target=second.hear, daemon=True).start()
    cache = KvCache.for_model(model, KvBlocks(256))
    runner = LeadingRunner(model, cache, lambda: 0.0, first)
    return LanguageEngine(runner, NumberTokenizer(), LIMITS, lambda: 0.0)


class Broken(nn.Module):
    """Fails as a full device does."""

    def forward(self, _rows: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_step_that_not_all_ranks_finish_ends_the_engine(is_broken: bool) -> None:
    engine = leading_engine(is_broken=is_broken)
    answer = submit(engine, "a", text_prompt(10), greedy(4))
    with pytest.raises(RankLostError):
        engine.step()
    # The connection breaks with the process, and the router goes on elsewhere.
    assert not answer.events


def test_the_replica_is_told_that_its_engine_has_ended() -> None:
    engine = leading_engine()
    crashed = threading.Event()
    thread = EngineThread("language", engine.step, crashed.set)
    engine.on_work = thread.wake
    thread.start()
    submit(engine, "a", text_prompt(10), greedy(4))
    assert crashed.wait(20)
    thread.stop()
