"""Every kind of language model over two ranks, through a whole cluster, as transformers answers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from common.config import LanguageServiceConfig
from common.types import ResolutionScope
from tests.integration.conversations import CONVERSATIONS
from tests.integration.requests import wire_request
from tests.language_service.language_models import (
    CONFIGS,
    build_language_model,
    write_checkpoint,
)
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster
from tests.reference import flash_reference
from training.checkpoint_shape import MICRO

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_TOKENS = 16
NAMES = ["text only", "two pictures in one slot", "several turns"]
# Small enough that prompts take several steps and conversations are copied within the cache.
OPTIONS = ClusterOptions(
    tensor_parallel_size=2, language=LanguageServiceConfig(kv_tokens=16384, max_batch_tokens=96)
)


@dataclass(frozen=True)
class Served:
    """A running cluster and the checkpoint that it serves."""

    directory: Path
    cluster: LocalCluster


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(CONFIGS))
async def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, micro_dir: Path
) -> AsyncIterator[Served]:
    model = build_language_model(request.param, "eager", MICRO.text.vocab_size)
    directory = write_checkpoint(micro_dir, model, tmp_path_factory.mktemp(request.param))
    async with local_cluster(directory, OPTIONS) as cluster:
        yield Served(directory, cluster)


@pytest.mark.parametrize("name", NAMES)
async def test_two_ranks_answer_as_the_reference(served: Served, name: str) -> None:
    conversation = CONVERSATIONS[name]
    expected = flash_reference.answer(
        served.directory, conversation, MAX_TOKENS, ResolutionScope.REQUEST
    )
    for _ in range(2):  # the second time from the prefix cache
        answer = await served.cluster.client.answer(wire_request(conversation, MAX_TOKENS))
        assert answer.token_ids == expected.token_ids
    assert answer.finished.usage.cached_tokens > 0
    assert len(set(answer.token_ids)) > 4
