"""The language engine on a card: exact in float32, captured as eager, and asking back once."""

import time

import pytest
import torch
from transformers import PreTrainedModel

from common.config import LanguageServiceConfig
from common.errors import StartupError
from common.types import SamplingParameters
from language_service.block_tables import KvBlocks
from language_service.device_attention import PAGED_ATTENTION_DEVICE
from language_service.engine import LanguageEngine
from language_service.graphed_decode import choose_graphs
from language_service.kv_cache import KvCache, KvShape
from language_service.kv_sizing import CudaMemory, choose_kv_tokens
from language_service.model_runner import ModelRunner
from language_service.prompt import Prompt
from language_service.scheduler import EngineLimits
from tests.language_service.harness import (
    NumberTokenizer,
    generate,
    greedy,
    mixed_prompts,
    run,
    submit,
)
from tests.language_service.language_models import CONFIGS, build_language_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
LIMITS = EngineLimits(max_context_tokens=256, max_batch_tokens=64, max_sequences=8)


def engine_of(model: PreTrainedModel, is_graphed: bool) -> LanguageEngine:
    cache = KvCache.for_model(model, KvBlocks(2048))
    graphs = choose_graphs(model, cache, LIMITS, is_graphed)
    runner = ModelRunner(model, cache, time.monotonic, graphs)
    engine = LanguageEngine(runner, NumberTokenizer(), LIMITS, time.monotonic)
    engine.warm_up()
    assert graphs is None or graphs.sizes == (1, 2, 4, 8)
    return engine


def answers_of(
    engine: LanguageEngine, prompts: list[Prompt], sampling: SamplingParameters
) -> list[list[int]]:
    answers = [submit(engine, str(i), prompt, sampling) for i, prompt in enumerate(prompts)]
    run(engine)
    return [answer.token_ids for answer in answers]


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("is_graphed", [False, True])
def test_greedy_answers_in_float32_are_those_of_transformers(kind: str, is_graphed: bool) -> None:
    model = build_language_model(kind, PAGED_ATTENTION_DEVICE).cuda()
    answers = answers_of(engine_of(model, is_graphed), mixed_prompts(), greedy(16))
    plain = build_language_model(kind, "eager")
    assert answers == [generate(plain, prompt, 16) for prompt in mixed_prompts()]


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(
    "sampling",
    [greedy(16), SamplingParameters(16, temperature=1.0, seed=5, top_p=0.9)],
)
def test_captured_steps_in_bfloat16_are_those_that_are_not(
    kind: str, sampling: SamplingParameters
) -> None:
    """Alone, so that the number of rows and with it the rounding are the same in both."""
    model = build_language_model(kind, PAGED_ATTENTION_DEVICE).to("cuda", torch.bfloat16)
    prompt = mixed_prompts()[:1]
    captured = answers_of(engine_of(model, is_graphed=True), prompt, sampling)
    assert captured == answers_of(engine_of(model, is_graphed=False), prompt, sampling)


def test_a_step_of_answers_asks_the_device_once() -> None:
    model = build_language_model("qwen3", PAGED_ATTENTION_DEVICE).to("cuda", torch.bfloat16)
    engine = engine_of(model, is_graphed=True)
    for index, prompt in enumerate(mixed_prompts()[:4]):
        sampling = SamplingParameters(
            20, temperature=0.7 * index, seed=index, presence_penalty=0.3 * index
        )
        submit(engine, str(index), prompt, sampling)
    for _ in range(10):
        engine.step()
    assert engine.stats.num_answer_tokens > 4
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchroniz") as warned:
            engine.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(warned) == 1


def test_the_cache_takes_what_the_share_leaves() -> None:
    model = build_language_model("qwen3", PAGED_ATTENTION_DEVICE).to("cuda", torch.bfloat16)
    device = torch.device("cuda")
    free, total = torch.cuda.mem_get_info()
    share = (total - free + (2 << 30)) / total
    config = LanguageServiceConfig(gpu_memory_utilization=share)
    tokens = choose_kv_tokens(model, config, LIMITS, CudaMemory(device))
    cache_bytes = tokens * KvShape.of(model).bytes_per_token(torch.bfloat16)
    assert (1 << 30) < cache_bytes < (2 << 30)
    KvCache.for_model(model, KvBlocks(tokens))
    left = torch.cuda.mem_get_info()[0]
    assert left > total * (1 - share) - (64 << 20)
    with pytest.raises(StartupError, match="The KV cache has room for 0 tokens"):
        choose_kv_tokens(
            model, LanguageServiceConfig(gpu_memory_utilization=0.001), LIMITS, CudaMemory(device)
        )
