"""How fast is the language engine beside transformers, and what does reuse save.

    python -m benchmarks.engine --repeat 5 --json engine.json

Everything runs on one thread with random weights in float32; contenders take turns in every
repetition on the same fresh prompts, and a goal is the median over repetitions. Times are CPU
seconds of the process (of the thread for the engine's own steps), not wall time, because shared
machines make wall time jump; all contenders compute on one thread, so nothing is hidden by that.

Pictures arrive on a simulated clock for the progressive goal: the vision stage takes as long for
a picture as the engine takes to prefill one, unless `--vision-pace` says otherwise, and the
clock moves by the CPU time of each engine step, or to the next arrival when there is none to do.
"""

import argparse
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import (
    Asked,
    Contender,
    Continuous,
    ModelSize,
    Ours,
    Static,
    our_engine,
)
from common.result import Goal, Result
from language_service.generation import EngineEvent, TokensGenerated
from language_service.prompt import (
    HeldSegment,
    ImageSegment,
    Prompt,
    PromptSegment,
    TextSegment,
    VisualSegment,
)
from language_service.token_keys import TokenKeys, picture_identity
from language_service.tokenizer import ChatTokenizer
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large everything is.

    Attributes:
        model: For equal lengths, reuse and overhead.
        small_model: For mixed lengths.
        prompt: Tokens of a prompt.
        answer: Tokens of an answer.
        mixed: Shortest and longest answer of mixed lengths.
        picture: Visual tokens of a picture.
        steps: Steps over which the overhead is taken.
    """

    model: ModelSize
    small_model: ModelSize
    prompt: int
    answer: int
    mixed: tuple[int, int]
    picture: int
    steps: int


FULL = Sizes(ModelSize(12, 512), ModelSize(4, 256), 300, 64, (8, 96), 512, 200)
TINY = Sizes(ModelSize(2, 128), ModelSize(2, 128), 40, 8, (2, 10), 64, 10)
NUM_PICTURES = 4


class Benchmark:
    """All measurements of one size.

    Args:
        sizes: How large.
        repeat: Repetitions of each.
        result: Gets rows and goals.
        tokenizer: Spells answers.
    """

    def __init__(self, sizes: Sizes, repeat: int, result: Result, tokenizer: ChatTokenizer) -> None:
        self._sizes = sizes
        self._repeat = repeat
        self._result = result
        self._tokenizer = tokenizer
        self._random = random.Random(0)  # noqa: S311
        self._pictures = itertools.count()

    def equal_lengths(self) -> None:
        """Tokens a second at batch 1, 8 and 32."""
        size = self._sizes
        hf, ours = size.model.build("sdpa"), self._engine(size.model)
        continuous = Continuous(size.model.build("sdpa"))
        for batch, target in ((1, 1.0), (8, 1.15), (32, 1.2)):
            contenders = [Static(hf, batch), continuous, ours]
            lengths = [size.answer] * batch
            rates = self._rates(f"{batch} equal", contenders, lengths)
            rival = "generate" if batch == 1 else "static batch"
            lengths_named = "batch 1" if batch == 1 else f"{batch} equal lengths"
            self._goal(f"tokens/s, {lengths_named}, vs HF {rival}", ratio(rates, 2, 0), target)

    def mixed_lengths(self) -> None:
        """Tokens a second over answers of many lengths."""
        size = self._sizes
        hf, ours = size.small_model.build("sdpa"), self._engine(size.small_model)
        lengths = [self._random.randint(*size.mixed) for _ in range(24)]
        rates = self._rates("24 mixed", [Static(hf, 1), Static(hf, 8), ours], lengths)
        name = "tokens/s, 24 mixed lengths, vs HF"
        self._goal(f"{name} one by one", ratio(rates, 2, 0), 3.0)
        self._goal(f"{name} static batch of 8", ratio(rates, 2, 1), 1.4)

    def second_turn(self) -> None:
        """CPU time to the first token of a second turn about the same picture."""
        ours = self._engine(self._sizes.model)
        ratios = []
        for _ in range(self._repeat):
            picture, turn = self._picture(), self._text(24)
            opening = Prompt((self._text(12), picture, self._text(24)))
            first = ours.submit(opening, self._sizes.answer)
            run(ours)
            answered = [
                i for event in first if isinstance(event, TokensGenerated) for i in event.token_ids
            ]
            answer = TextSegment(tuple(answered))
            segments = (*opening.segments, answer, turn)
            warm = seconds_to_first_token(ours, submit_held(ours, segments, 1))
            run(ours)
            fresh = Prompt((self._text(12), self._picture(), *segments[2:]))
            cold = seconds_to_first_token(ours, ours.submit(fresh, 1))
            run(ours)
            ratios.append(warm / cold)
            self._row("second turn", "cold", cold, "s")
            self._row("second turn", "same picture", warm, "s")
        name = "time to first token, second turn with the same picture, vs cold"
        self._goal(name, ratios, 0.25, "lower")

    def progressive(self, pace: float) -> None:
        """Simulated time to the first token of a prompt whose pictures come one by one."""
        ours = self._engine(self._sizes.model)
        ratios = []
        for _ in range(self._repeat):
            interval = pace * self._seconds_of_a_picture(ours)
            arrivals = [interval * (index + 1) for index in range(NUM_PICTURES)]
            waiting = self._answer_as_they_come(ours, [arrivals[-1]] * NUM_PICTURES)
            growing = self._answer_as_they_come(ours, arrivals)
            ratios.append(growing / waiting)
            self._row(f"4 pictures, pace {pace:g}", "waiting for all", waiting, "s")
            self._row(f"4 pictures, pace {pace:g}", "progressive", growing, "s")
        name = "time to first token, 4 pictures, progressive vs waiting for all"
        self._goal(name, ratios, 0.8, "lower")

    def overhead(self) -> None:
        """The engine's own time in a step of 32 answers."""
        ours, sizes = self._engine(self._sizes.model), self._sizes
        means = []
        for _ in range(self._repeat):
            for asked in self._asked([sizes.steps + 20] * 32):
                ours.submit(Prompt((TextSegment(asked.token_ids),)), asked.num_tokens)
            while ours.engine.outstanding_tokens > 32 * (sizes.steps + 10):
                ours.engine.step()
            began, before = time.thread_time(), ours.engine.forward_seconds
            for _ in range(sizes.steps):
                ours.engine.step()
            whole = time.thread_time() - began
            forward = ours.engine.forward_seconds - before
            means.append((whole - forward) / sizes.steps * 1e3)
            self._row("step of 32 answers", "model forward", forward / sizes.steps * 1e3, "ms")
            self._row("step of 32 answers", "engine's own", means[-1], "ms")
            run(ours)
        name = (
            "the engine's own thread CPU per decode step at batch 32 "
            f"(step minus model forward, mean of {sizes.steps}), ms"
        )
        self._goal(name, means, 1.0, "lower")

    def _rates(
        self, what: str, contenders: Sequence[Contender], lengths: Sequence[int]
    ) -> list[list[float]]:
        """Tokens a second, per contender one figure a repetition; the first round warms up."""
        rates: list[list[float]] = [[] for _ in contenders]
        for repetition in range(self._repeat + 1):
            asked = self._asked(lengths)
            answers = []
            for contender, found in zip(contenders, rates, strict=True):
                began = time.process_time()
                answers.append(contender.answer(asked))
                if repetition:
                    found.append(sum(lengths) / (time.process_time() - began))
                    self._row(what, contender.name, found[-1], "tokens/s")
            equal = sum(
                ours == theirs for ours, theirs in zip(answers[-1], answers[0], strict=True)
            )
            self._row(what, "answers equal", equal, f"of {len(lengths)}")
        return rates

    def _seconds_of_a_picture(self, ours: Ours) -> float:
        prompt = Prompt((self._picture(), self._text(1)))
        seconds = seconds_to_first_token(ours, ours.submit(prompt, 1))
        run(ours)
        return seconds

    def _answer_as_they_come(self, ours: Ours, arrivals: Sequence[float]) -> float:
        """Simulated seconds to the first token when pictures arrive at these times."""
        places = [ImageSegment(index) for index in range(len(arrivals))]
        pictures = [self._picture() for _ in arrivals]
        prompt = Prompt((self._text(12), *places, self._text(24)))
        events = ours.submit(prompt, 1)
        request_id = ours.last_request_id
        now, coming = 0.0, list(enumerate(arrivals))
        while not events:
            while coming and coming[0][1] <= now:
                index, _ = coming.pop(0)
                ours.engine.supply(request_id, index, pictures[index])
            began = time.thread_time()
            if ours.engine.step():
                now += time.thread_time() - began
            elif coming:
                now = max(now, coming[0][1])
        run(ours)
        return now

    def _engine(self, size: ModelSize) -> Ours:
        return our_engine(size.build("eager"), self._tokenizer)

    def _asked(self, lengths: Sequence[int]) -> list[Asked]:
        return [Asked(self._text(self._sizes.prompt).token_ids, length) for length in lengths]

    def _text(self, num_tokens: int) -> TextSegment:
        return TextSegment(tuple(self._random.randrange(1, 8192) for _ in range(num_tokens)))

    def _picture(self) -> VisualSegment:
        number, num_tokens = next(self._pictures), self._sizes.picture
        rows = torch.randn(num_tokens, self._sizes.model.hidden_size) * 0.1
        return VisualSegment(rows, picture_identity(number.to_bytes(8, "little"), (num_tokens,)))

    def _row(self, what: str, who: str, value: float, unit: str) -> None:
        row: dict[str, Any] = {"measured": what, "by": who, "value": value, "unit": unit}
        self._result.rows.append(row)

    def _goal(
        self, name: str, values: Sequence[float], target: float, better: str = "higher"
    ) -> None:
        value = statistics.median(values)
        self._result.goals.append(Goal(name, value, target, better))  # type: ignore[arg-type]


def ratio(rates: list[list[float]], ours: int, theirs: int) -> list[float]:
    """How much faster, one figure a repetition."""
    return [a / b for a, b in zip(rates[ours], rates[theirs], strict=True)]


def run(ours: Ours) -> None:
    """Step until there is nothing to do."""
    while ours.engine.step():
        pass


def seconds_to_first_token(ours: Ours, events: list[EngineEvent]) -> float:
    """Thread CPU time until the first event."""
    began = time.thread_time()
    while not events:
        ours.engine.step()
    return time.thread_time() - began


def submit_held(
    ours: Ours, segments: tuple[PromptSegment, ...], num_tokens: int
) -> list[EngineEvent]:
    """Submit a prompt whose picture is held and not sent."""
    keys, ends, prompt = TokenKeys(), [], []
    for segment in segments:
        if isinstance(segment, VisualSegment) and segment.identity is not None:
            length = segment.embeddings.shape[0]
            keys.add_picture(segment.identity, length)
            ends.append(keys.num_tokens)
            prompt.append(HeldSegment(segment.identity, length))
        elif isinstance(segment, TextSegment):
            keys.add_text(segment.token_ids)
            prompt.append(segment)
    hold = ours.engine.hold_pictures(keys, tuple(ends), keys.num_tokens - 1)
    if hold is None:
        raise AssertionError("the picture is not kept")
    return ours.submit(Prompt(tuple(prompt)), num_tokens, hold)


def measure(arguments: argparse.Namespace, result: Result) -> None:
    """Run every measurement."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        build_checkpoint(Path(folder), CheckpointOptions(shape=MICRO))
        tokenizer = ChatTokenizer(Path(folder))
    sizes = TINY if arguments.tiny else FULL
    benchmark = Benchmark(sizes, arguments.repeat, result, tokenizer)
    steps: list[Callable[[], None]] = [
        benchmark.equal_lengths,
        benchmark.mixed_lengths,
        benchmark.second_turn,
        lambda: benchmark.progressive(arguments.vision_pace),
        benchmark.overhead,
    ]
    for step in steps:
        step()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="repetitions of each measurement")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that it runs")
    parser.add_argument(
        "--vision-pace", type=float, default=1.0,
        help="time of the vision stage for a picture, in times of its prefill",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    result = Result()
    measure(arguments, result)
    result.report(arguments.json)


if __name__ == "__main__":
    main()
