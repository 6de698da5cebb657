"""Mixtures of experts over two ranks that are actors of Ray answer as transformers does.

`test_ray_cluster` does the same for a dense model.
"""

from pathlib import Path

import pytest

from common.types import ResolutionScope
from deploy.client import InferenceClient
from deploy.config import load_config
from deploy.supervisor import Supervisor
from tests.integration.conversations import CONVERSATIONS
from tests.integration.requests import wire_request
from tests.language_service.language_models import build_language_model, write_checkpoint
from tests.reference import flash_reference
from training.checkpoint_shape import MICRO

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

MAX_TOKENS = 16
NAMES = ("text only", "two pictures in one slot", "several turns")


@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss"])
async def test_two_ranks_answer_as_the_reference(
    kind: str, micro_dir: Path, tmp_path: Path
) -> None:
    model = build_language_model(kind, "eager", MICRO.text.vocab_size)
    directory = write_checkpoint(micro_dir, model, tmp_path / kind)
    settings = {
        "model": str(directory),
        "router.grpc_port": 0,
        "language.service.kv_tokens": 16384,
        "language.placement.tensor_parallel_size": 2,
    }
    supervisor = Supervisor(load_config(None, settings))
    try:
        ready = await supervisor.start()
        client = InferenceClient(ready.router.address)
        for name in NAMES:
            conversation = CONVERSATIONS[name]
            expected = flash_reference.answer(
                directory, conversation, MAX_TOKENS, ResolutionScope.REQUEST
            )
            answer = await client.answer(wire_request(conversation, MAX_TOKENS))
            assert answer.token_ids == expected.token_ids
        await client.close()
    finally:
        await supervisor.stop()
