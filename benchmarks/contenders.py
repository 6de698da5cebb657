"""Four ways to answer the same requests with the same weights, each on one thread.

    one by one    transformers' `generate`, a request at a time
    static        `generate` over padded batches, each as long as its longest answer
    continuous    transformers' continuous batching
    ours          the engine of this repository

All take token ids and answer greedily, each request at its own length.
"""

import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from transformers import (
    ContinuousBatchingConfig,
    GenerationConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from common.types import SamplingParameters
from language_service.attention import PAGED_ATTENTION
from language_service.block_tables import KvBlocks, PrefixHold
from language_service.detokenizer import Detokenizer
from language_service.engine import LanguageEngine
from language_service.generation import EngineEvent, GenerationRequest, TokensGenerated
from language_service.kv_cache import KvCache
from language_service.model_runner import ModelRunner
from language_service.packed_linear import pack_linears
from language_service.prompt import Prompt, TextSegment
from language_service.scheduler import EngineLimits
from language_service.tokenizer import ChatTokenizer

Answers = list[list[int]]


@dataclass(frozen=True, slots=True)
class ModelSize:
    """A language model with random weights.

    Attributes:
        num_layers: Layers.
        hidden_size: Width.
    """

    num_layers: int
    hidden_size: int

    def build(self, attention: str) -> PreTrainedModel:
        """The same weights every time, in float32."""
        torch.manual_seed(0)
        config = Qwen3Config(
            vocab_size=8192,
            hidden_size=self.hidden_size,
            intermediate_size=3 * self.hidden_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.hidden_size // 64,
            num_key_value_heads=max(self.hidden_size // 128, 1),
            head_dim=64,
            max_position_embeddings=4096,
            initializer_range=0.1,
            eos_token_id=None,
            pad_token_id=0,
        )
        model = Qwen3ForCausalLM(config).eval()
        model.set_attn_implementation(attention)
        model.generation_config.eos_token_id = None
        return model


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        token_ids: Prompt.
        num_tokens: Length of the answer.
    """

    token_ids: tuple[int, ...]
    num_tokens: int


class Contender(Protocol):
    """Answers requests."""

    name: str

    def answer(self, asked: Sequence[Asked]) -> Answers:
        """Answer greedily, each request at its length."""


class Static:
    """`generate` over batches of so many requests, in order; 1 is one by one.

    Args:
        model: With an attention of transformers' own.
        batch_size: Requests of a batch.
    """

    def __init__(self, model: PreTrainedModel, batch_size: int) -> None:
        self.name = "one by one" if batch_size == 1 else f"static {batch_size}"
        self._model = model
        self._batch_size = batch_size

    def answer(self, asked: Sequence[Asked]) -> Answers:
        """Answer batch by batch."""
        return [
            answer
            for begin in range(0, len(asked), self._batch_size)
            for answer in self._answer_batch(asked[begin : begin + self._batch_size])
        ]

    @torch.inference_mode()
    def _answer_batch(self, asked: Sequence[Asked]) -> Answers:
        longest = max(len(each.token_ids) for each in asked)
        padding = [longest - len(each.token_ids) for each in asked]
        ids = [[0] * pad + list(each.token_ids) for pad, each in zip(padding, asked, strict=True)]
        mask = [[0] * pad + [1] * (longest - pad) for pad in padding]
        output = self._model.generate(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            max_new_tokens=max(each.num_tokens for each in asked),
            do_sample=False,
        )
        answers = output[:, longest:].tolist()
        return [answer[: each.num_tokens] for answer, each in zip(answers, asked, strict=True)]


class Continuous:
    """Continuous batching of transformers; all answers of a call are equally long.

    Its manager is started for each call: one that stayed would take time from the others.

    Args:
        model: Its own, because it changes the attention.
    """

    name = "continuous"

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        # It tells of every package that it could make use of.
        logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)

    def answer(self, asked: Sequence[Asked]) -> Answers:
        """Answer all at once."""
        outputs = self._model.generate_batch(
            inputs=[list(each.token_ids) for each in asked],
            generation_config=GenerationConfig(
                max_new_tokens=asked[0].num_tokens, do_sample=False, eos_token_id=-1, pad_token_id=0
            ),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=32, num_blocks=1024, max_batch_tokens=512
            ),
            progress_bar=False,
            warmup=False,
        )
        in_order = sorted(outputs.values(), key=lambda each: int(each.request_id.split("_")[-1]))
        return [list(output.generated_tokens) for output in in_order]


@dataclass
class BenchmarkTokenizer:
    """Spells tokens with a real tokenizer; nothing ends an answer early.

    Attributes:
        tokenizer: Of any checkpoint.
    """

    tokenizer: ChatTokenizer
    eos_token_ids: frozenset[int] = frozenset()
    vocabulary_size: int = 1

    def detokenizer(self) -> Detokenizer:
        """Start a text; ids beyond the tokenizer's are folded into it."""
        size = self.tokenizer.vocabulary_size
        return Detokenizer(
            lambda ids: self.tokenizer.decode([each % size for each in ids]),
            lambda each: self._texts[each % size],
        )

    @cached_property
    def _texts(self) -> list[str]:
        """Of single tokens, as a replica has them after a while."""
        return [self.tokenizer.decode((i,)) for i in range(self.tokenizer.vocabulary_size)]


@dataclass
class Ours:
    """The engine, stepped by hand.

    Attributes:
        engine: To step.
        name: Its name in tables.
        last_request_id: Of the latest request.
    """

    engine: LanguageEngine
    name: str = "ours"
    last_request_id: str = ""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def submit(
        self, prompt: Prompt, num_tokens: int, hold: PrefixHold | None = None
    ) -> list[EngineEvent]:
        """Submit one greedy request; its events."""
        events: list[EngineEvent] = []
        sampling = SamplingParameters(num_tokens, temperature=0.0, seed=0)
        self.last_request_id = f"request {next(self._numbers)}"
        request = GenerationRequest(self.last_request_id, prompt, sampling, events.append, hold)
        self.engine.submit(request)
        return events

    def answer(self, asked: Sequence[Asked]) -> Answers:
        """Answer all at once."""
        streams = [
            self.submit(Prompt((TextSegment(each.token_ids),)), each.num_tokens) for each in asked
        ]
        while self.engine.step():
            pass
        return [
            [i for event in events if isinstance(event, TokensGenerated) for i in event.token_ids]
            for events in streams
        ]


def our_engine(
    model: PreTrainedModel, tokenizer: ChatTokenizer, num_kv_tokens: int = 40_960
) -> Ours:
    """An engine on the thread's own clock, with the attention and layers that replicas use."""
    model.set_attn_implementation(PAGED_ATTENTION)
    pack_linears(model)
    cache = KvCache.for_model(model, KvBlocks(num_kv_tokens))
    limits = EngineLimits(max_context_tokens=4096, max_batch_tokens=512, max_sequences=32)
    runner = ModelRunner(model, cache, time.thread_time)
    return Ours(LanguageEngine(runner, BenchmarkTokenizer(tokenizer), limits, time.thread_time))
