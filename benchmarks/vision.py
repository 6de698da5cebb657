"""What batching, keeping and overlap bring in the vision stage.

    python -m benchmarks.vision --repeat 5 --json vision.json

Pictures go through the real encoder: decoder threads, engine thread, feature cache; embeddings go
over loopback into the inbox of a real language replica. Weights are random, in the layer shape of
InternViT-300M (1024 wide, 16 heads) with gate and projectors, but of fewer layers, in float32 on
one thread. Contenders take turns in every repetition on the same fresh pictures; a goal is the
median over repetitions, of CPU seconds of the process, because shared machines make wall time jump.

Tiles of the published 448 px fill a CPU one by one: 1025 rows keep its matrix products busy, so the
engine does not batch them there, and the ratio shown for them is that of doing the same thing. What
batching brings where a tile alone leaves a device idle, as it does a GPU, is measured on tiles of
112 px, as the shipped model has them: 65 rows in the same layers. All else is measured at 448 px.
"""

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.vision_stage import VisionShapes, VisionStage, picture
from common.result import Goal, Result

NUM_REQUESTS = 16


class Benchmark:
    """All measurements.

    Args:
        shapes: Which models.
        repeat: Repetitions of each.
        folder: For the language replica's checkpoints.
        result: Gets rows and goals.
    """

    def __init__(self, shapes: VisionShapes, repeat: int, folder: Path, result: Result) -> None:
        self._shapes = shapes
        self._repeat = repeat
        self._folder = folder
        self._result = result
        self._seeds = itertools.count()

    async def batching(self, tile_size: int, num_layers: int, is_goal: bool) -> None:
        """Tiles a second, 16 requests of one tile at once, in batches and one call a tile."""
        what = f"16 requests, tiles of {tile_size} px"
        shape = self._shapes.of(tile_size, num_layers)
        ratios = []
        async with (
            VisionStage(shape, self._folder, max_batch_tiles=1) as alone,
            VisionStage(shape, self._folder, max_batch_tiles=16) as batched,
        ):
            for repetition in range(self._repeat + 1):
                files = [self._picture(tile_size) for _ in range(NUM_REQUESTS)]
                rates = []
                for stage, who in ((alone, "one call per tile"), (batched, "batched")):
                    seconds = await cpu_seconds(encode_all(stage, files))
                    rates.append(NUM_REQUESTS / seconds)
                    if repetition:
                        self._row(what, who, rates[-1], "tiles/s")
                if repetition:
                    ratios.append(rates[1] / rates[0])
            passes = batched.engine.stats.num_batches / batched.engine.stats.num_tiles
            self._row(what, "batched", passes, "passes/tile")
        if is_goal:
            name = "tiles/s, batched across 16 requests vs one call per tile"
            self._goal(name, ratios, 1.3, "higher")
        else:
            self._row(what, "batched / one call per tile", statistics.median(ratios), "")

    async def repeated(self) -> None:
        """Requests a second, encode and push, with half the pictures shown before."""
        tile_size, num = self._shapes.tile_size, self._shapes.num_requests
        shape = self._shapes.of(tile_size, self._shapes.layers)
        ratios = []
        async with VisionStage(shape, self._folder, max_batch_tiles=16) as stage:
            for repetition in range(self._repeat + 1):
                distinct = [self._picture(tile_size) for _ in range(num)]
                half = [self._picture(tile_size) for _ in range(num // 2)]
                rates = []
                for files, who in ((distinct, "all distinct"), (half * 2, "half repeated")):
                    seconds = await cpu_seconds(serve_in_turn(stage, files))
                    rates.append(num / seconds)
                    if repetition:
                        self._row("requests of one tile", who, rates[-1], "requests/s")
                if repetition:
                    ratios.append(rates[1] / rates[0])
        name = "requests/s, half the pictures repeated vs all distinct"
        self._goal(name, ratios, 1.6, "higher")

    async def overhead(self) -> None:
        """Share of CPU time that is not the model's, over five-tile JPEGs, encode and push."""
        side = 2 * self._shapes.tile_size
        shape = self._shapes.of(self._shapes.tile_size, self._shapes.layers)
        shares = []
        async with VisionStage(shape, self._folder, max_batch_tiles=16) as stage:
            for repetition in range(self._repeat + 1):
                files = [self._picture(side) for _ in range(2)]
                before = stage.model_seconds
                whole = await cpu_seconds(serve_at_once(stage, files, 5))
                share = 1 - (stage.model_seconds - before) / whole
                if repetition:
                    shares.append(share)
                    self._row("JPEGs of 5 tiles", "outside the model", share, "of CPU time")
                    self._row("JPEGs of 5 tiles", "outside the model", share * whole / 2, "s each")
        name = "share of vision CPU time outside ViT, gate and projectors, 5-tile JPEGs"
        self._goal(name, shares, 0.2, "lower")

    async def seen_before(self) -> None:
        """Passes of the vision transformer for a picture that was served before."""
        shape = self._shapes.of(self._shapes.tile_size, 1)
        passes = []
        async with VisionStage(shape, self._folder, max_batch_tiles=16) as stage:
            for _ in range(self._repeat):
                file = self._picture(self._shapes.tile_size)
                await stage.serve(file, 1)
                before = stage.engine.stats.num_batches
                await stage.serve(file, 1)
                passes.append(stage.engine.stats.num_batches - before)
                self._row("a picture seen before", "vision stage", passes[-1], "ViT passes")
        self._goal("ViT passes for a picture seen before", passes, 0, "lower")

    def _picture(self, side: int) -> bytes:
        return picture(side, next(self._seeds))

    def _row(self, what: str, who: str, value: float, unit: str) -> None:
        row: dict[str, Any] = {"measured": what, "by": who, "value": value, "unit": unit}
        self._result.rows.append(row)

    def _goal(
        self, name: str, values: list[float], target: float, better: Literal["higher", "lower"]
    ) -> None:
        self._result.goals.append(Goal(name, statistics.median(values), target, better))


async def cpu_seconds(work: Coroutine[Any, Any, None]) -> float:
    """CPU seconds of the process, all threads, that some work takes."""
    began = time.process_time()
    await work
    return time.process_time() - began


async def encode_all(stage: VisionStage, files: list[bytes]) -> None:
    """Encode pictures of one tile, of as many requests at once."""
    await asyncio.gather(*(stage.encode(file, 1) for file in files))


async def serve_at_once(stage: VisionStage, files: list[bytes], num_tiles: int) -> None:
    """Encode and push pictures of as many requests at once."""
    await asyncio.gather(*(stage.serve(file, num_tiles) for file in files))


async def serve_in_turn(stage: VisionStage, files: list[bytes]) -> None:
    """Encode and push pictures of one tile in turn, so that a repeated one is not under way."""
    for file in files:
        await stage.serve(file, 1)


async def measure(arguments: argparse.Namespace, result: Result) -> None:
    """Run every measurement."""
    torch.set_num_threads(1)
    shapes = VisionShapes.tiny() if arguments.tiny else VisionShapes()
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(shapes, arguments.repeat, Path(folder), result)
        await benchmark.batching(112, shapes.batching_layers, is_goal=True)
        await benchmark.batching(shapes.tile_size, shapes.layers, is_goal=False)
        await benchmark.repeated()
        await benchmark.overhead()
        await benchmark.seen_before()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="repetitions of each measurement")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that it runs")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    result = Result()
    asyncio.run(measure(arguments, result))
    result.report(arguments.json)


if __name__ == "__main__":
    main()
