"""What engine tests share: a small model, prompts of every kind, and collected answers."""

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, Qwen3Config

from common.errors import DvdError
from common.types import SamplingParameters
from language_service.block_tables import KvBlocks
from language_service.detokenizer import Detokenizer
from language_service.engine import LanguageEngine
from language_service.generation import (
    EngineEvent,
    GenerationFailed,
    GenerationFinished,
    GenerationRequest,
    TokensGenerated,
)
from language_service.kv_cache import KvCache
from language_service.model_runner import ModelRunner
from language_service.prompt import Prompt, TextSegment, VisualSegment
from language_service.scheduler import EngineLimits

VOCABULARY_SIZE = 500
HIDDEN_SIZE = 64
LIMITS = EngineLimits(max_context_tokens=256, max_batch_tokens=64, max_sequences=8)

# A wide initialisation, so that answers vary and no two logits come near each other.
CONFIG = Qwen3Config(
    vocab_size=VOCABULARY_SIZE,
    hidden_size=HIDDEN_SIZE,
    intermediate_size=128,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=512,
    initializer_range=0.2,
)


def build_model(attention: str, config: PreTrainedConfig = CONFIG) -> PreTrainedModel:
    """A model with random weights, the same ones every time."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    model.set_attn_implementation(attention)
    return model


@dataclass
class NumberTokenizer:
    """Spells every token as its number."""

    eos_token_ids: frozenset[int] = frozenset()
    vocabulary_size: int = VOCABULARY_SIZE

    def detokenizer(self) -> Detokenizer:
        return Detokenizer(lambda token_ids: "".join(f"{token_id} " for token_id in token_ids))


@dataclass
class Answer:
    """All events of one request."""

    events: list[EngineEvent] = field(default_factory=list)

    @property
    def token_ids(self) -> list[int]:
        tokens = [event for event in self.events if isinstance(event, TokensGenerated)]
        return [token_id for event in tokens for token_id in event.token_ids]

    @property
    def text(self) -> str:
        return "".join(e.text for e in self.events if not isinstance(e, GenerationFailed))

    @property
    def finished(self) -> GenerationFinished:
        (event,) = [e for e in self.events if not isinstance(e, TokensGenerated)]
        assert isinstance(event, GenerationFinished)
        assert event is self.events[-1]
        return event

    @property
    def error(self) -> DvdError:
        (event,) = [e for e in self.events if not isinstance(e, TokensGenerated)]
        assert isinstance(event, GenerationFailed)
        assert event is self.events[-1]
        return event.error


def counting_clock() -> Callable[[], float]:
    """A clock that ticks once a reading."""
    ticks = itertools.count()
    return lambda: float(next(ticks))


def build_engine(
    model: PreTrainedModel,
    limits: EngineLimits = LIMITS,
    num_kv_tokens: int = 2048,
    eos_token_ids: frozenset[int] = frozenset(),
    block_size: int = 16,
    keeps_prefixes: bool = True,
) -> LanguageEngine:
    """An engine whose clock ticks once a reading."""
    blocks = KvBlocks(num_kv_tokens, block_size, keeps_prefixes=keeps_prefixes)
    kv_cache = KvCache.for_model(model, blocks)
    clock = counting_clock()
    runner = ModelRunner(model, kv_cache, clock)
    return LanguageEngine(runner, NumberTokenizer(eos_token_ids), limits, clock)


def submit(
    engine: LanguageEngine,
    request_id: str,
    prompt: Prompt,
    sampling: SamplingParameters,
) -> Answer:
    """Submit a request and collect its events."""
    answer = Answer()
    engine.submit(GenerationRequest(request_id, prompt, sampling, answer.events.append))
    return answer


def run(engine: LanguageEngine) -> None:
    """Step until idle; nothing may be left behind."""
    while engine.step():
        pass
    assert engine.used_kv_tokens == 0
    assert engine.running_requests == engine.waiting_requests == engine.outstanding_tokens == 0


def greedy(max_tokens: int) -> SamplingParameters:
    return SamplingParameters(max_tokens, temperature=0.0, seed=0)


def text_prompt(num_tokens: int, first: int = 1) -> Prompt:
    """A prompt of successive token ids."""
    ids = tuple(i % VOCABULARY_SIZE for i in range(first, first + num_tokens))
    return Prompt((TextSegment(ids),))


def mixed_prompts(lengths: Sequence[int] = (7, 90, 33, 64, 2, 51, 18, 40)) -> list[Prompt]:
    """Prompts of token ids and, for half of them, visual tokens in between."""
    generator = torch.Generator().manual_seed(1)
    prompts = []
    for index, length in enumerate(lengths):
        ids = torch.randint(VOCABULARY_SIZE, (length,), generator=generator).tolist()
        num_visual = length // 2 if index % 2 else 0
        rows = torch.randn(num_visual, HIDDEN_SIZE, generator=generator) * 0.2
        head, tail = ids[: length // 4], ids[length // 4 + num_visual :]
        segments = (TextSegment(tuple(head)), VisualSegment(rows), TextSegment(tuple(tail)))
        prompts.append(Prompt(segments))
    return prompts


def generate(
    model: PreTrainedModel, prompt: Prompt, max_tokens: int, eos_token_id: int | None = None
) -> list[int]:
    """The answer of transformers' own `generate`."""
    embed = model.get_input_embeddings()
    rows = [
        embed(torch.tensor(s.token_ids, dtype=torch.int64))
        if isinstance(s, TextSegment)
        else s.embeddings
        for s in prompt.segments
    ]
    embeddings = torch.cat(rows)[None].detach()
    answer = model.generate(
        inputs_embeds=embeddings,
        attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.int64),
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=eos_token_id,
        pad_token_id=0,
    )
    return list(answer[0].tolist())
