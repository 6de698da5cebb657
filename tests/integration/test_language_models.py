"""Mixture-of-experts checkpoints through a whole cluster, pictures and all, as the reference."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from common.types import ResolutionScope
from tests.integration.conversations import CONVERSATIONS
from tests.integration.requests import wire_request
from tests.language_service.language_models import build_language_model, write_checkpoint
from tests.local_cluster import LocalCluster, local_cluster
from tests.reference import flash_reference
from training.checkpoint_shape import MICRO

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_TOKENS = 16
NAMES = ["text only", "one square picture", "two pictures in one slot", "several turns"]


@dataclass(frozen=True)
class Served:
    """A running cluster and the checkpoint that it serves."""

    directory: Path
    cluster: LocalCluster


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["qwen3_moe", "gpt_oss"])
async def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, micro_dir: Path
) -> AsyncIterator[Served]:
    model = build_language_model(request.param, "eager", MICRO.text.vocab_size)
    directory = write_checkpoint(micro_dir, model, tmp_path_factory.mktemp(request.param))
    async with local_cluster(directory) as cluster:
        yield Served(directory, cluster)


@pytest.mark.parametrize("name", NAMES)
async def test_answers_are_those_of_the_reference(served: Served, name: str) -> None:
    conversation = CONVERSATIONS[name]
    expected = flash_reference.answer(
        served.directory, conversation, MAX_TOKENS, ResolutionScope.REQUEST
    )
    answer = await served.cluster.client.answer(wire_request(conversation, MAX_TOKENS))
    assert answer.token_ids == expected.token_ids
    assert answer.text == expected.text
    assert len(set(answer.token_ids)) > 4
