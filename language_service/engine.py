"""The language engine: prompts in, tokens out, one step at a time.

One thread calls `step` for as long as it returns True and then sleeps until `on_work`. Servicers
submit, supply pictures and cancel from any thread. A step takes in what came, lets the scheduler
choose tokens, runs the model once over all of them, and gives each request its new token.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from common.errors import (
    CancelledRequestError,
    CheckpointError,
    DeadlineExpiredError,
    DvdError,
    EmbeddingRejectedError,
    InvalidRequestError,
    StartupError,
)
from common.types import FinishReason, SamplingParameters
from language_service.answer_text import AnswerText
from language_service.block_tables import PrefixHold
from language_service.deadlines import Deadlines, Due
from language_service.detokenizer import AnswerTokenizer
from language_service.engine_stats import EngineStats, count_answer_tokens
from language_service.generation import (
    EngineEvent,
    Generation,
    GenerationFailed,
    GenerationRequest,
)
from language_service.logprobs import TokenLogprobs
from language_service.model_runner import ModelRunner
from language_service.prompt import Prompt, TextSegment, VisualSegment
from language_service.sampler import INVALID_TOKEN, SampledTokens
from language_service.scheduler import EngineLimits, Scheduler, StepPlan
from language_service.token_keys import TokenKeys

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Supply:
    """A picture on its way to a request."""

    generation: Generation
    image_index: int
    picture: VisualSegment


class LanguageEngine:
    """Continuous batching over one model.

    Args:
        runner: The model with its KV cache.
        tokenizer: Ends and spells answers.
        limits: Bounds of a step and of a request.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        runner: ModelRunner,
        tokenizer: AnswerTokenizer,
        limits: EngineLimits,
        clock: Callable[[], float],
    ) -> None:
        self._runner = runner
        if tokenizer.vocabulary_size > self._runner.vocabulary_size:
            raise CheckpointError(
                f"The tokenizer knows {tokenizer.vocabulary_size} tokens, "
                f"the model only {self._runner.vocabulary_size}."
            )
        self._scheduler = Scheduler(limits, runner.blocks)
        self._tokenizer = tokenizer
        self._blocks = runner.blocks
        self.limits = limits
        self.stats = EngineStats()
        self._clock = clock
        self._lock = threading.Lock()
        # The engine's thread plans and counts under it; servicers hold blocks.
        self._blocks_lock = threading.Lock()
        self._generations: dict[str, Generation] = {}
        self._arrived: list[Generation] = []
        self._supplied: list[_Supply] = []
        self._cancelled: list[Generation] = []
        self._deadlines = Deadlines(clock)
        self.on_work: Callable[[], None] = lambda: None
        """Called from any thread when there is something to do; set it before the first request."""

    @property
    def max_request_tokens(self) -> int:
        """Longest prompt and answer together that can ever run."""
        return min(self.limits.max_context_tokens, self._blocks.num_tokens)

    @property
    def running_requests(self) -> int:
        """Requests that hold KV room."""
        return self._scheduler.num_running

    @property
    def waiting_requests(self) -> int:
        """Requests that are submitted and hold no KV room yet."""
        return max(len(self._generations) - self._scheduler.num_running, 0)

    @property
    def outstanding_tokens(self) -> int:
        """Tokens still to compute, answers counted as long as answers have been lately."""
        with self._lock:
            generations = list(self._generations.values())
        expected = self.stats.mean_answer_tokens
        return sum(each.sequence.num_expected_tokens(expected) for each in generations)

    @property
    def free_kv_tokens(self) -> int:
        """Tokens that fit into the KV cache beside those that run; kept ones give way."""
        return self._blocks.num_free_tokens

    @property
    def used_kv_tokens(self) -> int:
        """Tokens of the KV cache that requests have or hold; 0 when idle."""
        return self._blocks.num_tokens - self._blocks.num_free_tokens

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache that requests have or hold."""
        return self.used_kv_tokens / self._blocks.num_tokens

    @property
    def kept_kv_tokens(self) -> int:
        """Tokens of the KV cache that may serve again."""
        return self._blocks.num_kept_tokens

    @property
    def num_preemptions(self) -> int:
        """How often a request gave its room back before its end."""
        return self._scheduler.num_preemptions

    @property
    def forward_seconds(self) -> float:
        """Time spent in the model, on the engine's clock."""
        return self._runner.forward_seconds

    def check_fits(self, num_prompt_tokens: int, max_tokens: int) -> None:
        """Check that a request can run at all.

        Raises:
            InvalidRequestError: It is longer than `max_request_tokens`, or empty.
        """
        if num_prompt_tokens < 1 or max_tokens < 1:
            raise InvalidRequestError(
                "The prompt and max_tokens must each be at least 1 token.", field="messages"
            )
        if num_prompt_tokens + max_tokens > self.max_request_tokens:
            raise InvalidRequestError(
                f"The prompt has {num_prompt_tokens} tokens and max_tokens is {max_tokens}, "
                f"together {num_prompt_tokens + max_tokens}; "
                f"the limit is {self.max_request_tokens}.",
                field="messages",
            )

    def hold_pictures(
        self, keys: TokenKeys, picture_ends: tuple[int, ...], limit: int
    ) -> PrefixHold | None:
        """Keep what the cache knows of a prompt until its request ends; thread-safe.

        Args:
            keys: Of the prompt's leading tokens.
            picture_ends: For each picture among them, the tokens up to its end.
            limit: Most tokens to take from the cache.

        Returns:
            What covers as many whole pictures as possible; None where there is no such picture,
            or where too much is held already for the largest request to fit beside it.
        """
        with self._blocks_lock:
            known = self._blocks.match(keys, limit).num_tokens
            covered = [end for end in picture_ends if end <= known]
            if not covered:
                return None
            match = self._blocks.match(keys, max(covered))
            return self._blocks.hold(match, self._blocks.num_tokens - self.max_request_tokens)

    def hold_again(self, hold: PrefixHold) -> PrefixHold:
        """Keep once more what is held, for another request; thread-safe."""
        with self._blocks_lock:
            return self._blocks.hold_again(hold)

    def let_go(self, hold: PrefixHold) -> None:
        """End a hold whose request was never submitted; thread-safe."""
        with self._blocks_lock:
            self._blocks.let_go(hold)

    def submit(self, request: GenerationRequest) -> None:
        """Take a request; thread-safe.

        Raises:
            InvalidRequestError: It can never fit, or its id is in use.
            EmbeddingRejectedError: An embedding has the wrong shape.
        """
        self.check_fits(request.prompt.num_tokens, request.sampling.max_tokens)
        for segment in request.prompt.segments:
            if isinstance(segment, VisualSegment):
                self._check_embeddings(segment)
        text = request.text or AnswerText(
            self._tokenizer.detokenizer(), request.sampling.stop_strings
        )
        generation = Generation(request, text, self._clock())
        with self._lock:
            if request.request_id in self._generations:
                raise InvalidRequestError(
                    f"The request id {request.request_id} is in use.", field="request_id"
                )
            self._generations[request.request_id] = generation
            self._arrived.append(generation)
        self.on_work()

    def supply(self, request_id: str, image_index: int, picture: VisualSegment) -> None:
        """Bring a picture that a request waits for; thread-safe, and harmless if it is gone.

        Raises:
            EmbeddingRejectedError: The embedding has the wrong shape.
        """
        self._check_embeddings(picture)
        with self._lock:
            generation = self._generations.get(request_id)
            if generation is not None:
                self._supplied.append(_Supply(generation, image_index, picture))
        self.on_work()

    def cancel(self, request_id: str) -> None:
        """End a request before the next step; thread-safe, and harmless if it is gone."""
        with self._lock:
            generation = self._generations.get(request_id)
            if generation is not None:
                self._cancelled.append(generation)
        self.on_work()

    def step(self) -> bool:
        """Advance every running request; engine thread only.

        Returns:
            False when there was nothing to do.
        """
        began_at = self._clock()
        with self._blocks_lock:
            self._drain()
            plan = self._scheduler.schedule()
            self.stats.note_admitted(plan.admitted)
        # Counted on from now, so they are made whether there is more to do or not.
        if plan.copies:
            self._runner.copy(plan.copies)
        if not plan.chunks:
            return False
        num_answers = count_answer_tokens(plan.chunks)
        try:
            sampled = self._run(plan)
        except RuntimeError:  # torch reports failed kernels and exhausted memory so
            logger.exception("A step of %d sequences failed.", len(plan.chunks))
            with self._blocks_lock:
                self._fail(plan)
        else:
            num_tokens = sum(chunk.num_tokens for chunk in plan.chunks)
            self.stats.note_computed(num_tokens, num_answers)
            with self._blocks_lock:
                self._advance(plan, sampled)
            self.stats.note_seconds(self._clock() - began_at, num_tokens == num_answers)
        return True

    def warm_up(self) -> None:
        """Run a largest step and an answer token, so that the first request finds all in place.

        Raises:
            StartupError: The device cannot run them.
        """
        num_tokens = min(self.limits.max_batch_tokens, self.max_request_tokens - 2)
        events: list[EngineEvent] = []
        prompt = Prompt((TextSegment((0,) * num_tokens),))
        sampling = SamplingParameters(max_tokens=2, temperature=0.0, seed=0)
        self.submit(GenerationRequest("warm-up", prompt, sampling, events.append))
        while self.step():
            pass
        if isinstance(events[-1], GenerationFailed):
            raise StartupError(f"The language model cannot run a step of {num_tokens} tokens.")
        self._runner.prepare_graphs()
        self.stats = EngineStats()

    def _drain(self) -> None:
        """Queue what was submitted, add what was supplied, end what was cancelled or is late."""
        with self._lock:
            arrived, self._arrived = self._arrived, []
            supplied, self._supplied = self._supplied, []
            cancelled, self._cancelled = self._cancelled, []
        for generation in arrived:
            self._queue(generation)
        for supply in supplied:
            picture = supply.picture
            embeddings = self._runner.place(picture.embeddings)
            placed = VisualSegment(embeddings, picture.identity)
            supply.generation.supply(supply.image_index, placed, self._clock())
        for generation in cancelled:
            self._end(generation, CancelledRequestError("The request was cancelled."))
        for due in self._deadlines.passed():
            late = self._generations.get(due.request_id)
            if late is not None and late.sequence.rank[1] == due.arrival:
                self._end(late, DeadlineExpiredError("The request's deadline has passed."))

    def _queue(self, generation: Generation) -> None:
        sequence = generation.sequence
        sequence.prompt = sequence.prompt.map_embeddings(self._runner.place)
        self._scheduler.add(sequence, generation.submitted, generation.priority)
        self._deadlines.add(Due(generation.deadline, sequence.rank[1], sequence.request_id))

    def _end(self, generation: Generation, error: DvdError) -> None:
        # It may have ended since, and its id may even be in use again.
        if self._generations.get(generation.sequence.request_id) is generation:
            self._release(generation)
            generation.fail(error)

    def _run(self, plan: StepPlan) -> SampledTokens:
        now = self._clock()
        for sequence in plan.admitted:
            self._generations[sequence.request_id].start(now)
        return self._runner.run(plan)

    def _advance(self, plan: StepPlan, sampled: SampledTokens) -> None:
        """Count what is computed and give each finished chunk's sequence its token."""
        now = self._clock()
        remaining = iter(enumerate(sampled.token_ids))
        for chunk in plan.chunks:
            generation = self._generations[chunk.sequence.request_id]
            self._scheduler.advance(chunk)
            if chunk.is_last:
                generation.note_token(now)
                row, token_id = next(remaining)
                self._accept(generation, token_id, sampled.logprobs.get(row), now)

    def _accept(
        self, generation: Generation, token_id: int, logprobs: TokenLogprobs | None, now: float
    ) -> None:
        """Deliver a token or end the answer."""
        sampling = generation.sequence.sampling
        if token_id == INVALID_TOKEN:
            self._runner.clear(self._scheduler.table(generation.sequence))
            self._release(generation, keep=False)
            generation.fail(DvdError("The model computed a value that is not finite."))
        elif token_id in sampling.stop_token_ids:
            self._finish(generation, FinishReason.STOP, now, token_id)
        elif token_id in self._tokenizer.eos_token_ids and not sampling.ignore_eos:
            self._finish(generation, FinishReason.STOP, now)
        else:
            generation.deliver(token_id, logprobs)
            num_output_tokens = len(generation.sequence.output_ids)
            stopped = bool(sampling.stop_strings) and generation.has_stopped
            if stopped or num_output_tokens == sampling.max_tokens:
                self._finish(generation, FinishReason.LENGTH, now)

    def _finish(
        self, generation: Generation, reason: FinishReason, now: float, token_id: int | None = None
    ) -> None:
        self._release(generation)
        # Probes ask for one token, and say nothing of how long answers are.
        if generation.sequence.sampling.max_tokens > 1:
            self.stats.note_answer(len(generation.sequence.output_ids))
        generation.finish(reason, now, token_id)

    def _fail(self, plan: StepPlan) -> None:
        for chunk in plan.chunks:
            generation = self._generations[chunk.sequence.request_id]
            self._release(generation)
            generation.fail(DvdError())

    def _release(self, generation: Generation, keep: bool = True) -> None:
        """Forget a request and free its KV room.

        Args:
            generation: The request.
            keep: Whether what it has computed may serve others.
        """
        self._scheduler.remove(generation.sequence, keep)
        with self._lock:
            del self._generations[generation.sequence.request_id]

    def _check_embeddings(self, segment: VisualSegment) -> None:
        shape = tuple(segment.embeddings.shape)
        if len(shape) != 2 or shape[1] != self._runner.hidden_size:
            raise EmbeddingRejectedError(
                f"An embedding has shape {list(shape)}, "
                f"the model reads [n, {self._runner.hidden_size}]."
            )
