"""One run of `dvd bench`: count words, make the load, warm up, send, tell what became of it."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from common.errors import ConfigError, UnavailableError
from deploy.bench.arrivals import arrival_offsets
from deploy.bench.calibration import measure_vocabulary
from deploy.bench.conversations import Conversation, make_conversations
from deploy.bench.document import document
from deploy.bench.door import Door
from deploy.bench.exchange import Exchange
from deploy.bench.load import Load, LoadOptions
from deploy.bench.objectives import parse_objectives
from deploy.bench.options import BenchOptions
from deploy.bench.pictures import DrawnGallery, FileGallery, Gallery
from deploy.bench.plot import draw_plot
from deploy.bench.progress import shown_live
from deploy.bench.report import block
from deploy.bench.resolutions import parse_resolutions
from deploy.bench.summary import Summary, parse_percents, summarise


@dataclass(frozen=True, slots=True)
class Consoles:
    """Where a run is shown.

    Attributes:
        out: The result.
        progress: What is under way.
    """

    out: Console
    progress: Console


async def run_bench(
    options: BenchOptions, door: Door, consoles: Consoles, stopping: asyncio.Event
) -> Summary:
    """Send a load and show, draw and write what became of it.

    Args:
        options: The load.
        door: Where to; closed by the caller.
        consoles: Where the run is shown.
        stopping: Ends the load early; what there is is told all the same.

    Raises:
        ConfigError: An option is wrong, or a file cannot be written.
        DvdError: There is no such door.
        UnavailableError: Every request failed.
    """
    objectives = parse_objectives(list(options.goodput))
    percents = parse_percents(options.percentiles)
    _check_numbers(options)
    _check_files(options)
    gallery = _gallery(options)
    model_name = await door.model_name()
    warmup, conversations = await _make(options, door, gallery, consoles)
    load_options = LoadOptions(
        options.max_concurrency, options.ignore_eos, options.temperature, options.timeout_seconds
    )
    await Load(door, load_options, time.perf_counter).send(warmup, [0.0] * len(warmup), stopping)
    load, retries_before = Load(door, load_options, time.perf_counter), door.num_retries
    arrivals = arrival_offsets(
        len(conversations), options.request_rate, options.burstiness, _draws(options, "arrivals")
    )
    num_requests = len(conversations) * options.mix.num_turns
    async with shown_live(consoles.progress, load.progress, num_requests, time.perf_counter):
        await load.send(conversations, arrivals, stopping)
    retries = door.num_retries - retries_before
    summary = summarise(load.exchanges, objectives, percents, retries)
    await asyncio.to_thread(_tell, options, model_name, summary, load.exchanges, consoles.out)
    if summary.failed and not summary.completed:
        raise UnavailableError(f"Every request failed: {summary.errors[0].code}.")
    return summary


async def _make(
    options: BenchOptions, door: Door, gallery: Gallery, consoles: Consoles
) -> tuple[list[Conversation], list[Conversation]]:
    """Make the conversations that warm up and those that count, before either is sent."""
    with consoles.progress.status("Counting words, drawing pictures…"):
        vocabulary = await measure_vocabulary(door, seed=options.seed)
        made = await asyncio.to_thread(
            make_conversations,
            options.num_warmups + options.num_prompts,
            options.mix,
            vocabulary,
            gallery,
            _draws(options, "conversations"),
        )
    return made[: options.num_warmups], made[options.num_warmups :]


def _gallery(options: BenchOptions) -> Gallery:
    if options.image_dir is not None:
        return FileGallery(options.image_dir, options.seed)
    resolutions = parse_resolutions(options.resolutions)
    return DrawnGallery(resolutions, options.picture_format, options.seed)


def _draws(options: BenchOptions, purpose: str) -> random.Random:
    """A source for one purpose, so that more of one thing changes nothing of another."""
    return random.Random(f"{options.seed}/{purpose}")


def _check_numbers(options: BenchOptions) -> None:
    for flag, value in (
        ("--request-rate", options.request_rate),
        ("--burstiness", options.burstiness),
        ("--timeout-seconds", options.timeout_seconds),
    ):
        if not value > 0:
            raise ConfigError(f"{flag} is more than 0.")


def _check_files(options: BenchOptions) -> None:
    """Refuse, before anything is sent, what could not be written afterwards."""
    if options.plot is not None and options.plot.suffix.lower() != ".png":
        raise ConfigError(f"--plot writes PNG; {options.plot} does not end in .png.")
    for file in (options.json_file, options.plot):
        if file is not None and not file.parent.is_dir():
            raise ConfigError(f"Cannot write {file}: there is no such folder.")


def _tell(
    options: BenchOptions,
    model_name: str,
    summary: Summary,
    exchanges: Sequence[Exchange],
    out: Console,
) -> None:
    out.print(block(options, summary), markup=False, emoji=False, soft_wrap=True)
    if options.json_file is not None:
        written = document(options, model_name, summary, exchanges, datetime.now(UTC))
        _write(options.json_file, json.dumps(written, indent=2) + "\n")
    if options.plot is not None:
        draw_plot(options, model_name, summary, exchanges).save(options.plot, "PNG")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as cause:
        raise ConfigError(f"Cannot write {file}.") from cause
