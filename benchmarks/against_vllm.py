"""The same load against vLLM on CPU, both over HTTP: how many requests a second, how even.

    make vllm-env
    python -m benchmarks.against_vllm --json against_vllm.json

The same checkpoint without Flash, in the layout of transformers, float32, two threads each: vLLM
has them in one process, we have a vision replica and a language replica of one each. Pictures are
all different. ViR is a row of its own, because vLLM cannot serve such a model. Servers run all the
time and take turns within each round. Where vLLM is not installed, our rows are measured alone.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.ablation_arms import NUM_THREADS, Arm, Layout
from benchmarks.ablation_models import SIDES, build_model
from benchmarks.deployment import serving
from benchmarks.picture_load import LoadFigures, Workload, conversations_of, offer, percentile_ms
from benchmarks.vllm_server import add_video_processor, is_installed, vllm_serving
from common.model_config import CheckpointLayout
from common.result import Goal, Result
from deploy.bench.conversations import Conversation
from deploy.bench.door import Door
from deploy.bench.openai_door import OpenAiDoor

VLLM, DVD, VIR = "vLLM", "DvD", "DvD + ViR"
GOAL_TILES = 5
NOT_INSTALLED = "vLLM is not installed: run `make vllm-env`."
PICTURES_A_SECOND = 60
WARM_UP_ROUNDS = 4

Figures = dict[tuple[int, str], list[LoadFigures]]


async def start_ours(name: str, folder: Path, stack: AsyncExitStack) -> OpenAiDoor:
    """Start one of our deployments; its HTTP door."""
    _say(f"starting {name}")
    arm = Arm(Layout.DECOUPLED, has_vir=name == VIR)
    layout = CheckpointLayout.ORIGINAL if arm.has_vir else CheckpointLayout.TRANSFORMERS
    model_dir = await asyncio.to_thread(build_model, folder, arm.has_vir, layout=layout)
    (server,) = await stack.enter_async_context(serving(arm.servers(model_dir)))
    door = OpenAiDoor(server.router.http_address)
    stack.push_async_callback(door.close)
    await door.model_name()
    return door


async def start_vllm(environment: Path, folder: Path, stack: AsyncExitStack) -> OpenAiDoor:
    """Start vLLM on the checkpoint of ours that has no Flash."""
    _say("starting vLLM, which takes a minute")
    layout = CheckpointLayout.TRANSFORMERS
    model_dir = await asyncio.to_thread(build_model, folder, False, layout=layout)
    add_video_processor(model_dir)
    log = folder / "vllm.log"
    return await stack.enter_async_context(vllm_serving(environment, model_dir, NUM_THREADS, log))


async def measure(arguments: argparse.Namespace, folder: Path) -> Figures:
    """Start all, then measure all sizes in turns."""
    figures: Figures = {}
    async with AsyncExitStack() as stack:
        doors: dict[str, Door] = {}
        if is_installed(arguments.environment):
            doors[VLLM] = await start_vllm(arguments.environment, folder, stack)
        for name in (DVD, VIR):
            doors[name] = await start_ours(name, folder, stack)
        for number in range(arguments.rounds):
            for seed in arguments.seeds:
                for tiles in SIDES:
                    asked = load_of(arguments, tiles, f"{seed}/{number}")
                    for name, door in doors.items():
                        shown = await offer(door, asked, workload_of(arguments, tiles))
                        figures.setdefault((tiles, name), []).append(shown)
                        rate = shown.requests_per_second
                        _say(f"{tiles:2} tiles, {name:10} {rate:.2f} requests/s")
    return figures


def workload_of(arguments: argparse.Namespace, tiles: int) -> Workload:
    """What is asked at one size."""
    return Workload(SIDES[tiles], arguments.output, arguments.concurrency, arguments.seconds)


def load_of(arguments: argparse.Namespace, tiles: int, seed: str) -> list[Conversation]:
    """More conversations than anyone answers in a window."""
    num = round(arguments.seconds * PICTURES_A_SECOND / (1 + tiles))
    num += WARM_UP_ROUNDS * arguments.concurrency
    return conversations_of(workload_of(arguments, tiles), num, f"{seed}/{tiles}")


def rows(figures: Figures) -> list[dict[str, Any]]:
    """A row for each size and server."""
    made = []
    for (tiles, name), windows in figures.items():
        rates = [each.requests_per_second for each in windows]
        ttft = [seconds for each in windows for seconds in each.ttft_seconds]
        made.append(
            {
                "tiles": tiles,
                "server": name,
                "requests/s": statistics.median(rates),
                "spread": f"{min(rates):.2f}-{max(rates):.2f}",
                "vs vLLM": _ratio(figures, tiles, name),
                "ttft p50 ms": percentile_ms(ttft, 50),
                "ttft p99 ms": percentile_ms(ttft, 99),
                "itl p50 ms": _itl_ms(windows, 50),
                "itl p99 ms": _itl_ms(windows, 99),
                "failed": sum(each.num_failed for each in windows),
            }
        )
    return made


def goals(figures: Figures) -> list[Goal]:
    """The goals of the issue, at 5 tiles, without ViR."""
    rate = _ratio(figures, GOAL_TILES, DVD)
    ours = _itl_ms(figures.get((GOAL_TILES, DVD), []), 99)
    theirs = _itl_ms(figures.get((GOAL_TILES, VLLM), []), 99)
    itl = ours / theirs if ours is not None and theirs else None
    name = "`benchmarks/against_vllm.py`: requests/s vs vLLM on CPU"
    other = "ITL p99 with pictures in flight vs vLLM on CPU"
    return [
        Goal(name, rate, 1.0, "higher", NOT_INSTALLED if rate is None else None),
        Goal(other, itl, 0.5, "lower", NOT_INSTALLED if itl is None else None),
    ]


def _ratio(figures: Figures, tiles: int, name: str) -> float | None:
    """Requests a second as a factor of vLLM's, round by round, the median."""
    theirs = figures.get((tiles, VLLM))
    if not theirs:
        return None
    pairs = zip(figures[tiles, name], theirs, strict=True)
    ratios = [a.requests_per_second / b.requests_per_second for a, b in pairs if b.num_requests]
    return statistics.median(ratios) if ratios else None


def _itl_ms(windows: list[LoadFigures], percent: float) -> float | None:
    return percentile_ms([gap for each in windows for gap in each.itl_seconds], percent)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="turns of all servers, for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of pictures and texts")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of one window")
    parser.add_argument("--concurrency", type=int, default=8, help="requests under way")
    parser.add_argument("--output", type=int, default=32, help="tokens of each answer")
    parser.add_argument(
        "--environment", type=Path, default=Path("build/vllm"), help="where vLLM is installed"
    )
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(arguments, Path(folder)))
    Result(rows(figures), goals(figures)).report(arguments.json)


if __name__ == "__main__":
    main()
