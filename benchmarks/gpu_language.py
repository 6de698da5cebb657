"""The language engine as a replica sets it up on a GPU, timed beside transformers' `generate`."""

import itertools
import statistics
import time
from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from benchmarks.gpu_ceilings import seconds_of, wait
from benchmarks.gpu_models import GpuShape
from common.types import SamplingParameters
from language_service.block_tables import KvBlocks
from language_service.detokenizer import Detokenizer
from language_service.device_attention import attention_for
from language_service.engine import LanguageEngine
from language_service.generation import EngineEvent, GenerationRequest, TokensGenerated
from language_service.graphed_decode import choose_graphs
from language_service.kv_cache import KvCache
from language_service.model_runner import ModelRunner
from language_service.prompt import Prompt, TextSegment
from language_service.scheduler import EngineLimits


class NoText:
    """Spells nothing: text is not what is measured."""

    eos_token_ids: frozenset[int] = frozenset()

    def __init__(self, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size

    def detokenizer(self) -> Detokenizer:
        """See `AnswerTokenizer`."""
        return Detokenizer(lambda _: "")


class TimedGenerate:
    """One model behind transformers' `generate`.

    Args:
        model: On its device; its attention is set to PyTorch's own.
        shape: Of it.
        repeat: Measurements of each; medians count.
    """

    def __init__(self, model: PreTrainedModel, shape: GpuShape, repeat: int) -> None:
        self._model, self._shape, self._repeat = model, shape, repeat
        model.set_attn_implementation("sdpa")

    def decode_rate(self, batch: int) -> float:
        """Tokens a second: what longer answers take more than shorter ones."""
        few, many = self._shape.answer // 4, self._shape.answer
        prompts = torch.stack(
            [prompt_ids(self._shape, self._shape.context, i) for i in range(batch)]
        )
        prompts = prompts.to(self._model.device)
        times = [self._seconds(prompts, number) for number in (few, many)]
        return batch * (many - few) / max(times[1] - times[0], 1e-9)

    def _seconds(self, prompts: torch.Tensor, num_tokens: int) -> float:
        return seconds_of(
            lambda: self._model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=num_tokens,
                min_new_tokens=num_tokens,
                do_sample=False,
                pad_token_id=0,
            ),
            self._model.device,
            self._repeat,
        )


class TimedLanguage:
    """One model behind the engine.

    Args:
        model: On its device; its attention is set to the engine's own.
        shape: Of it.
        repeat: Measurements of each; medians count.
        max_batch: Most answers at a time.
    """

    def __init__(
        self, model: PreTrainedModel, shape: GpuShape, repeat: int, max_batch: int
    ) -> None:
        self._shape, self._repeat = shape, repeat
        self._numbers = itertools.count()
        self.device = model.device
        longest = max(shape.prompt, shape.context) + shape.answer + 1
        limits = EngineLimits(longest, max(2 * shape.prompt, max_batch), max_batch)
        model.set_attn_implementation(attention_for(model.device))
        room = max_batch * (shape.context + shape.answer + 80) + longest
        cache = KvCache.for_model(model, KvBlocks(room, keeps_prefixes=False))
        graphs = choose_graphs(model, cache, limits, is_wanted=True)
        tokenizer = NoText(shape.text.vocab_size)
        runner = ModelRunner(model, cache, time.monotonic, graphs)
        self.engine = LanguageEngine(runner, tokenizer, limits, time.monotonic)
        self.engine.warm_up()

    def submit(
        self, prompt: Prompt, num_tokens: int, on_event: Callable[[EngineEvent], None]
    ) -> None:
        """Submit a request of so many tokens; thread-safe."""
        sampling = SamplingParameters(num_tokens, temperature=0.0, seed=0)
        name = f"request {next(self._numbers)}"
        self.engine.submit(GenerationRequest(name, prompt, sampling, on_event))

    def prefill_seconds(self) -> float:
        """Time to the first token of one long prompt, nothing of it known."""

        def run() -> None:
            events: list[EngineEvent] = []
            self.submit(self._prompt(self._shape.prompt), 1, events.append)
            while self.engine.step():
                pass

        return seconds_of(run, self.device, self._repeat)

    def decode_rate(self, batch: int) -> float:
        """Tokens a second of so many answers, after the first token of each."""
        self._decode(batch)
        return statistics.median(self._decode(batch) for _ in range(self._repeat))

    def _decode(self, batch: int) -> float:
        answers: list[list[EngineEvent]] = [[] for _ in range(batch)]
        for events in answers:
            self.submit(self._prompt(self._shape.context), self._shape.answer, events.append)
        while not all(answers):
            self.engine.step()
        wait(self.device)
        before, began = _num_tokens(answers), time.perf_counter()
        while self.engine.step():
            pass
        return (_num_tokens(answers) - before) / (time.perf_counter() - began)

    def _prompt(self, num_tokens: int) -> Prompt:
        ids = prompt_ids(self._shape, num_tokens, next(self._numbers))
        return Prompt((TextSegment(tuple(ids.tolist())),))


def prompt_ids(shape: GpuShape, num_tokens: int, number: int) -> torch.Tensor:
    """Random ids [num_tokens] of a prompt, others for each number."""
    source = torch.Generator().manual_seed(number)
    return torch.randint(1, shape.text.vocab_size, (num_tokens,), generator=source)


def _num_tokens(answers: list[list[EngineEvent]]) -> int:
    return sum(
        len(event.token_ids)
        for events in answers
        for event in events
        if isinstance(event, TokensGenerated)
    )
