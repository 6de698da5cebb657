"""A closed-loop load of distinct pictures, measured while it is steady.

So many requests are always under way. What is measured begins when half as many have ended, so that
the first crowd, in which all look at pictures and nobody answers, is not part of it, and it ends
while all are still busy: what is under way then is cut off. An answer that is partly
within the window counts for that part of its tokens. Lengths are drawn around a mean: equal ones
would keep in step, and no answer would be under way while pictures are looked at.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deploy.bench.conversations import Conversation, make_conversations
from deploy.bench.door import Door
from deploy.bench.exchange import Exchange
from deploy.bench.load import Load, LoadOptions
from deploy.bench.mix import Mix
from deploy.bench.objectives import Objective
from deploy.bench.pictures import DrawnGallery
from deploy.bench.resolutions import Resolution
from deploy.bench.vocabulary import WORDS, Vocabulary, Word

LOOK_SECONDS = 0.02
TEXT_TOKENS = 8
RANGE_RATIO = 0.5
# Words are counted as one token each: all servers get the same texts, whatever they count.
VOCABULARY = Vocabulary(tuple(Word(text, 1) for text in WORDS))


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked.

    Attributes:
        picture_side: Of the one picture of each request, in pixels; 0 for none.
        output_tokens: Of an answer on average, whatever the model would say.
        concurrency: Requests under way.
        seconds: Length of the window.
        max_warm_up_seconds: Most to wait for the load to be steady.
    """

    picture_side: int
    output_tokens: int
    concurrency: int
    seconds: float
    max_warm_up_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Window:
    """Part of a load, on the clock of its exchanges."""

    begin_seconds: float
    end_seconds: float

    def holds(self, at_seconds: float) -> bool:
        """Whether it is within."""
        return self.begin_seconds < at_seconds <= self.end_seconds


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What one window shows.

    Attributes:
        seconds: Its length.
        num_requests: Answers in it, parts counted as parts.
        num_good_requests: Of these, answers that keep the objectives.
        num_failed: Requests that failed in all of the load.
        ttft_seconds: Times to the first tokens that came within it.
        itl_seconds: Times between tokens, by the later one.
        prefill_seconds: Of answered requests, in all of the load, where the door tells.
        compressed_share: Of tiles of answered requests; 0 without pictures.
        cpu_seconds: Spent in it by those who answered, one by one, where that is known.
    """

    seconds: float
    num_requests: float
    num_good_requests: float
    num_failed: int
    ttft_seconds: tuple[float, ...]
    itl_seconds: tuple[float, ...]
    prefill_seconds: tuple[float, ...]
    compressed_share: float
    cpu_seconds: tuple[float, ...] = ()

    @property
    def requests_per_second(self) -> float:
        """Throughput."""
        return self.num_requests / self.seconds

    @property
    def goodput_per_second(self) -> float:
        """Throughput of answers that keep the objectives."""
        return self.num_good_requests / self.seconds


async def offer(
    door: Door,
    conversations: Sequence[Conversation],
    workload: Workload,
    objectives: Sequence[Objective] = (),
    spent: Callable[[], tuple[float, ...]] = tuple,
) -> LoadFigures:
    """Offer a load until its window is over.

    Args:
        door: Where to.
        conversations: More than can be answered until then.
        workload: How many at once, for how long.
        objectives: What a good answer keeps.
        spent: CPU seconds so far of those who answer.
    """
    options = LoadOptions(workload.concurrency, ignore_eos=True)
    load, stopping = Load(door, options, time.perf_counter), asyncio.Event()
    offsets = [0.0] * len(conversations)
    sending = asyncio.create_task(load.send(conversations, offsets, stopping))
    latest = time.perf_counter() + workload.max_warm_up_seconds
    while 2 * load.progress.answered < workload.concurrency and time.perf_counter() < latest:
        await asyncio.wait({sending}, timeout=LOOK_SECONDS)
    began, spent_before = time.perf_counter(), spent()
    await asyncio.wait({sending}, timeout=workload.seconds)
    window, spent_after = Window(began, time.perf_counter()), spent()
    stopping.set()
    await sending
    shown = figures(load.exchanges, window, workload.output_tokens, objectives)
    cpu = tuple(after - before for before, after in zip(spent_before, spent_after, strict=True))
    return replace(shown, cpu_seconds=cpu)


def conversations_of(workload: Workload, num: int, seed: str) -> list[Conversation]:
    """Make conversations with a picture each, all of them different."""
    num_pictures = 1 if workload.picture_side else 0
    mix = Mix(TEXT_TOKENS, workload.output_tokens, RANGE_RATIO, num_pictures=num_pictures)
    draws = random.Random(seed)  # noqa: S311 - a load, no secret
    side = max(workload.picture_side, 1)
    gallery = DrawnGallery((Resolution(side, side),), "jpeg", draws.getrandbits(62))
    return make_conversations(num, mix, VOCABULARY, gallery, draws)


def figures(
    exchanges: Sequence[Exchange],
    window: Window,
    output_tokens: int,
    objectives: Sequence[Objective],
) -> LoadFigures:
    """Work out what a window shows.

    Args:
        exchanges: All requests of the load, those cut off included.
        window: Which part.
        output_tokens: Of a whole answer on average.
        objectives: What a good answer keeps.
    """
    tokens_of_one = _tokens_of_one(exchanges)
    parts = [tokens_of_one * _told(each, window) / output_tokens for each in exchanges]
    good = [all(each.is_met(exchange) for each in objectives) for exchange in exchanges]
    uses = [exchange.use for exchange in exchanges if exchange.use is not None]
    tiles = sum(use.tiles for use in uses)
    return LoadFigures(
        seconds=window.end_seconds - window.begin_seconds,
        num_requests=sum(parts),
        num_good_requests=sum(part for part, kept in zip(parts, good, strict=True) if kept),
        num_failed=sum(bool(exchange.error) for exchange in exchanges),
        ttft_seconds=tuple(
            exchange.ttft_seconds
            for exchange in exchanges
            if exchange.arrivals and window.holds(exchange.arrivals[0].at_seconds)
        ),
        itl_seconds=tuple(gap for exchange in exchanges for gap in _gaps(exchange, window)),
        prefill_seconds=tuple(
            exchange.stages.prefill for exchange in exchanges if exchange.stages is not None
        ),
        compressed_share=sum(use.compressed_tiles for use in uses) / tiles if tiles else 0.0,
    )


def percentile_ms(seconds: Sequence[float], percent: float) -> float | None:
    """A percentile of times, in milliseconds; None of none."""
    return 1000 * float(np.percentile(seconds, percent)) if seconds else None


def _told(exchange: Exchange, window: Window) -> int:
    """Tokens that came within a window, as far as the door tells."""
    return sum(each.num_tokens for each in exchange.arrivals if window.holds(each.at_seconds))


def _tokens_of_one(exchanges: Sequence[Exchange]) -> float:
    """Tokens that one token stands for which the door tells of: over HTTP not all have text."""
    answered = [exchange for exchange in exchanges if exchange.is_answered]
    told = sum(each.num_tokens for exchange in answered for each in exchange.arrivals)
    return sum(exchange.output_tokens for exchange in answered) / told if told else 1.0


def _gaps(exchange: Exchange, window: Window) -> list[float]:
    """Times between tokens; a message of several counts as so many equal gaps."""
    gaps: list[float] = []
    for earlier, later in zip(exchange.arrivals, exchange.arrivals[1:], strict=False):
        if window.holds(later.at_seconds):
            gap = (later.at_seconds - earlier.at_seconds) / later.num_tokens
            gaps += [gap] * later.num_tokens
    return gaps
