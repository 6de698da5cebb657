"""Life of a request in the engine: events, refusals, failures, reports."""

import threading

import pytest
import torch
from transformers import PreTrainedModel, Qwen3ForCausalLM

from common.errors import (
    CheckpointError,
    DvdError,
    EmbeddingRejectedError,
    InvalidRequestError,
    StartupError,
)
from common.types import FinishReason
from language_service.attention import PAGED_ATTENTION
from language_service.block_tables import KvBlocks
from language_service.engine import LanguageEngine
from language_service.generation import EngineEvent, GenerationRequest, TokensGenerated
from language_service.kv_cache import KvCache
from language_service.model_runner import ModelRunner
from language_service.prompt import Prompt, TextSegment, VisualSegment
from language_service.scheduler import EngineLimits
from tests.language_service.harness import (
    CONFIG,
    HIDDEN_SIZE,
    LIMITS,
    NumberTokenizer,
    build_engine,
    greedy,
    mixed_prompts,
    run,
    submit,
    text_prompt,
)


class FailingModel(Qwen3ForCausalLM):
    """Runs out of memory in chosen forward passes."""

    failing_passes: frozenset[int] = frozenset()
    num_passes = 0

    def forward(self, *args, **kwargs):
        self.num_passes += 1
        if self.num_passes in self.failing_passes:
            raise torch.OutOfMemoryError("no room")
        return super().forward(*args, **kwargs)


def failing_model(*failing_passes: int) -> FailingModel:
    config = type(CONFIG)(**CONFIG.to_dict())
    model = FailingModel(config).eval()
    model.set_attn_implementation(PAGED_ATTENTION)
    model.failing_passes = frozenset(failing_passes)
    return model


def visual_prompt(rows: torch.Tensor) -> Prompt:
    return Prompt((TextSegment((1, 2)), VisualSegment(rows), TextSegment((3,))))


def test_idle_engine_does_nothing(model: PreTrainedModel) -> None:
    assert not build_engine(model).step()


def test_tokens_come_one_a_step_and_text_with_them(model: PreTrainedModel) -> None:
    engine = build_engine(model)
    answer = submit(engine, "a", text_prompt(5), greedy(3))
    seen = []
    while engine.step():
        seen.append(len(answer.token_ids))
    assert seen == [1, 2, 3]
    assert answer.text == "".join(f"{token_id} " for token_id in answer.token_ids)


def test_answer_stops_at_max_tokens(model: PreTrainedModel) -> None:
    engine = build_engine(model)
    answer = submit(engine, "a", text_prompt(5), greedy(7))
    run(engine)
    assert answer.finished.finish_reason is FinishReason.LENGTH
    assert answer.finished.num_completion_tokens == len(answer.token_ids) == 7


def test_times_of_the_stages(model: PreTrainedModel) -> None:
    engine = build_engine(model)
    answer = submit(engine, "a", text_prompt(5), greedy(3))
    run(engine)
    # The clock ticks at submission, when a step is planned and when it begins, around the model,
    # and at the results.
    finished = answer.finished
    assert (finished.queue_seconds, finished.prefill_seconds) == (2.0, 3.0)
    assert finished.decode_seconds > finished.prefill_seconds


def test_embeddings_are_read_in_the_type_of_the_model(model: PreTrainedModel) -> None:
    rows = torch.randn(20, HIDDEN_SIZE).bfloat16()
    engine = build_engine(model)
    wire = submit(engine, "wire", visual_prompt(rows), greedy(8))
    cast = submit(engine, "cast", visual_prompt(rows.float()), greedy(8))
    run(engine)
    assert wire.token_ids == cast.token_ids


def test_largest_request_runs(model: PreTrainedModel) -> None:
    engine = build_engine(model)
    answer = submit(engine, "a", text_prompt(250), greedy(6))
    run(engine)
    assert len(answer.token_ids) == 6


@pytest.mark.parametrize(("num_kv_tokens", "limit"), [(2048, 256), (100, 96)])
def test_too_long_a_request_is_refused_with_numbers(
    model: PreTrainedModel, num_kv_tokens: int, limit: int
) -> None:
    engine = build_engine(model, num_kv_tokens=num_kv_tokens)
    engine.check_fits(limit - 6, 6)
    with pytest.raises(InvalidRequestError) as refused:
        submit(engine, "a", text_prompt(limit - 6), greedy(7))
    assert refused.value.field == "messages"
    for number in (limit - 6, 7, limit + 1, limit):
        assert str(number) in refused.value.message
    assert engine.waiting_requests == 0


@pytest.mark.parametrize(("num_prompt_tokens", "max_tokens"), [(0, 1), (1, 0)])
def test_empty_requests_are_refused(
    model: PreTrainedModel, num_prompt_tokens: int, max_tokens: int
) -> None:
    with pytest.raises(InvalidRequestError):
        build_engine(model).check_fits(num_prompt_tokens, max_tokens)


def test_an_id_in_use_is_refused_and_free_again_at_the_end(model: PreTrainedModel) -> None:
    engine = build_engine(model)
    first = submit(engine, "a", text_prompt(5), greedy(4))
    with pytest.raises(InvalidRequestError, match="in use"):
        submit(engine, "a", text_prompt(5), greedy(4))
    run(engine)
    second = submit(engine, "a", text_prompt(5), greedy(4))
    run(engine)
    assert first.token_ids == second.token_ids


@pytest.mark.parametrize("shape", [(4, HIDDEN_SIZE + 1), (HIDDEN_SIZE,)])
def test_embeddings_of_another_shape_are_refused(
    model: PreTrainedModel, shape: tuple[int, ...]
) -> None:
    with pytest.raises(EmbeddingRejectedError, match=str(HIDDEN_SIZE)):
        submit(build_engine(model), "a", visual_prompt(torch.zeros(shape)), greedy(4))


def test_numbers_that_are_not_finite_fail_their_own_request_alone(model: PreTrainedModel) -> None:
    engine = build_engine(model)
    good = submit(engine, "good", text_prompt(9), greedy(6))
    run(engine)
    poisoned = torch.full((20, HIDDEN_SIZE), float("nan"))
    bad = submit(engine, "bad", visual_prompt(poisoned), greedy(6))
    neighbour = submit(engine, "neighbour", text_prompt(9), greedy(6))
    run(engine)
    assert type(bad.error) is DvdError
    assert neighbour.token_ids == good.token_ids


def test_a_failed_step_fails_its_sequences_and_serving_goes_on() -> None:
    engine = build_engine(failing_model(3))
    running = [submit(engine, name, text_prompt(5), greedy(6)) for name in ("a", "b")]
    run(engine)
    later = submit(engine, "later", text_prompt(5), greedy(6))
    run(engine)
    assert [type(answer.error) for answer in running] == [DvdError, DvdError]
    assert [len(answer.token_ids) for answer in (*running, later)] == [2, 2, 6]


def test_a_failed_step_spares_those_that_were_not_in_it() -> None:
    engine = build_engine(failing_model(1), EngineLimits(256, 8, max_sequences=8))
    failed = submit(engine, "a", text_prompt(20), greedy(4))
    spared = submit(engine, "b", text_prompt(20), greedy(4))
    run(engine)
    assert isinstance(failed.error, DvdError)
    assert len(spared.token_ids) == 4


def test_warm_up_leaves_nothing_behind(model: PreTrainedModel) -> None:
    engine = build_engine(model)
    engine.warm_up()
    run(engine)


def test_warm_up_that_fails_stops_the_start() -> None:
    with pytest.raises(StartupError, match="64 tokens"):
        build_engine(failing_model(1)).warm_up()


def test_a_tokenizer_larger_than_the_model_is_refused(model: PreTrainedModel) -> None:
    tokenizer = NumberTokenizer(vocabulary_size=CONFIG.vocab_size + 1)
    cache = KvCache.for_model(model, KvBlocks(64))
    runner = ModelRunner(model, cache, lambda: 0.0)
    with pytest.raises(CheckpointError, match="501 tokens"):
        LanguageEngine(runner, tokenizer, LIMITS, lambda: 0.0)


def test_load_is_reported_in_tokens(model: PreTrainedModel) -> None:
    engine = build_engine(model, EngineLimits(256, 16, max_sequences=1))
    submit(engine, "a", text_prompt(20), greedy(4))
    submit(engine, "b", text_prompt(30), greedy(10))
    assert (engine.running_requests, engine.waiting_requests) == (0, 2)
    assert engine.outstanding_tokens == 24 + 40
    engine.step()
    assert (engine.running_requests, engine.waiting_requests) == (1, 1)
    assert engine.outstanding_tokens == 24 + 40 - 16
    assert (engine.used_kv_tokens, engine.free_kv_tokens) == (32, 2048 - 32)
    run(engine)


def test_load_counts_answers_as_long_as_answers_are(model: PreTrainedModel) -> None:
    engine = build_engine(model, EngineLimits(256, 64, max_sequences=1))
    submit(engine, "short", text_prompt(20), greedy(4))
    run(engine)
    submit(engine, "probe", text_prompt(20), greedy(1))
    run(engine)
    submit(engine, "long", text_prompt(20), greedy(30))
    assert engine.outstanding_tokens == 20 + 4
    for _ in range(10):  # the prompt and its first token, then nine more: longer than expected
        engine.step()
    assert engine.outstanding_tokens == 2


def test_work_is_announced(model: PreTrainedModel) -> None:
    engine, calls = build_engine(model), []
    engine.on_work = lambda: calls.append("work")
    submit(engine, "a", text_prompt(5), greedy(1))
    engine.cancel("a")
    assert calls == ["work", "work"]


def test_requests_may_come_from_many_threads(model: PreTrainedModel) -> None:
    engine, work = build_engine(model), threading.Event()
    engine.on_work = work.set
    ends: list[EngineEvent] = []

    def note(event: EngineEvent) -> None:
        if not isinstance(event, TokensGenerated):
            ends.append(event)

    def send(sender: int) -> None:
        for number, prompt in enumerate(mixed_prompts((3, 9, 5))):
            request_id = f"{sender}-{number}"
            engine.submit(GenerationRequest(request_id, prompt, greedy(5), note))
            if number == sender % 3:
                engine.cancel(request_id)

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(6)]
    for sender in senders:
        sender.start()
    while len(ends) < 18:
        work.wait(timeout=10)
        work.clear()
        while engine.step():
            pass
    for sender in senders:
        sender.join()
    run(engine)
    assert len(ends) == 18
