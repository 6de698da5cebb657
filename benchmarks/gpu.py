"""How near a GPU's own limits are ViT, prefill and decode; and how far ahead of `generate`.

    python -m benchmarks.gpu --json gpu.json
    python -m benchmarks.gpu --device cpu --size tiny     # only shows that it runs

Models have the shapes of InternVL3.5-1B and -8B and random weights in bfloat16, made on the device.
The limits are the card's own, measured first: a large matrix product, a large copy. Of the prompt,
all products count and half of the scores; of a decode step at batch 1, all weights but the table of
embeddings, and the keys that are read. Last come both roles on the one card. Without a GPU the
goals have a reason in place of a value. **This program has never run on a card.**
"""

import argparse
import time
from pathlib import Path

import torch

from benchmarks.gpu_ceilings import CARD, TINY, measure_ceilings, seconds_of
from benchmarks.gpu_language import TimedGenerate, TimedLanguage
from benchmarks.gpu_models import (
    SHAPES,
    GpuShape,
    bytes_of_a_token,
    language_model,
    model_config,
    prefill_flops,
    vision_model,
    vit_flops,
)
from benchmarks.gpu_roles import ARMS, RolesOnOneDevice
from common.result import Goal, Result
from language_service.model_tuning import tune
from vision_service.engine import VisionEngine

GENERATE = "GPU: decode tokens/s at batch 1 vs HF generate (8B shape)"
DECODE = "GPU: decode vs bandwidth ceiling at batch 1"
PREFILL = "GPU: prefill vs matmul ceiling, 4k tokens"
VIT = "GPU: ViT vs matmul ceiling, 64 tiles"
TARGETS = {GENERATE: 3.0, DECODE: 0.55, PREFILL: 0.5, VIT: 0.5}
# The shape whose figures are the goals'.
GOAL_SIZE = "8B"
BATCHES = (1, 8, 32)
TILES_OF_A_PICTURE = 5
NUM_REQUESTS = 12


class GpuBenchmark:
    """All measurements on one device; its own limits first.

    Args:
        device: Which.
        repeat: Measurements of each.
        result: Gets the rows.
        compiles: Whether the engine's layers are compiled; those of `generate` never are.
    """

    def __init__(
        self, device: torch.device, repeat: int, result: Result, compiles: bool = False
    ) -> None:
        self._compiles = compiles
        self._device, self._repeat, self._result = device, repeat, result
        self._dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        sizes = CARD if device.type == "cuda" else TINY
        self._ceilings = measure_ceilings(device, self._dtype, sizes, repeat)
        self._row("device", "matrix product", self._ceilings.flops / 1e12, "TFLOP/s")
        self._row("device", "copy, read and written", self._ceilings.bandwidth / 1e9, "GB/s")

    def measure(self, shape: GpuShape) -> dict[str, float]:
        """Everything of one size; the goals' values by their names."""
        found = {VIT: self._vit(shape)}
        model = language_model(shape, self._dtype, self._device)
        generate = TimedGenerate(model, shape, self._repeat)
        theirs = {batch: generate.decode_rate(batch) for batch in BATCHES}
        tune(model, self._compiles)
        language = TimedLanguage(model, shape, self._repeat, max(BATCHES))
        seconds = language.prefill_seconds()
        found[PREFILL] = prefill_flops(shape, shape.prompt) / seconds / self._ceilings.flops
        self._row(shape.name, f"prefill of {shape.prompt} tokens", seconds * 1e3, "ms")
        self._row(shape.name, "prefill vs matrix product", found[PREFILL], "share")
        ours = {batch: language.decode_rate(batch) for batch in BATCHES}
        for batch in BATCHES:
            self._row(shape.name, f"decode, batch {batch}", ours[batch], "tokens/s")
            self._row(shape.name, f"generate, batch {batch}", theirs[batch], "tokens/s")
        found[GENERATE] = ours[1] / theirs[1]
        needed = bytes_of_a_token(shape, model, shape.context + shape.answer // 2)
        found[DECODE] = ours[1] * needed / self._ceilings.bandwidth
        self._row(shape.name, "decode, batch 1, vs copy", found[DECODE], "share")
        self._roles(shape, language)
        return found

    def _vit(self, shape: GpuShape) -> float:
        model = vision_model(shape, self._dtype, self._device)
        side = shape.vision.tile_size
        pixels = torch.randn(shape.tiles, 3, side, side, device=self._device).to(self._dtype)
        with torch.inference_mode():
            seconds = seconds_of(lambda: model.encode(pixels), self._device, self._repeat)
        share = vit_flops(shape, shape.tiles) / seconds / self._ceilings.flops
        self._row(shape.name, f"ViT, {shape.tiles} tiles", seconds * 1e3, "ms")
        self._row(shape.name, "ViT vs matrix product", share, "share")
        return share

    def _roles(self, shape: GpuShape, language: TimedLanguage) -> None:
        vision = VisionEngine(
            vision_model(shape, self._dtype, self._device), model_config(shape),
            shape.tiles, time.perf_counter,
        )  # fmt: skip
        side = shape.vision.tile_size
        pixels = torch.randn(TILES_OF_A_PICTURE, 3, side, side)
        roles = RolesOnOneDevice(language, vision, pixels, shape.answer)
        for arm in ARMS:
            for what, value in roles.row(arm, NUM_REQUESTS, self._repeat).items():
                self._row(f"{shape.name}, {arm.name}", what, value, "")

    def _row(self, size: str, measured: str, value: float, unit: str) -> None:
        row = {"size": size, "measured": measured, "value": value, "unit": unit}
        self._result.rows.append(row)


def reason_for_none(device: torch.device | None, sizes: list[str]) -> str | None:
    """Why the goals have no values; None where they have."""
    if device is None:
        return "this machine has no CUDA device that PyTorch can use"
    if device.type != "cuda":
        return "measured on a CPU, which only shows that the program runs"
    return None if GOAL_SIZE in sizes else f"the {GOAL_SIZE} shape was not measured"


def measure(
    device: torch.device | None,
    sizes: list[str],
    repeat: int,
    result: Result,
    compiles: bool = False,
) -> None:
    """Fill in rows and goals."""
    reason, found = reason_for_none(device, sizes), dict[str, float]()
    if device is not None:
        is_card = device.type == "cuda"
        result.device = torch.cuda.get_device_name(device) if is_card else None
        benchmark = GpuBenchmark(device, repeat, result, compiles)
        for size in sizes:
            of_size = benchmark.measure(SHAPES[size])
            found = of_size if size == GOAL_SIZE else found
    for name, target in TARGETS.items():
        value = None if reason else found[name]
        result.goals.append(Goal(name, value, target, "higher", reason))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--size", choices=tuple(SHAPES), action="append", help="repeatable; 1B and 8B if left out"
    )
    parser.add_argument("--repeat", type=int, default=5, help="measurements of each")
    parser.add_argument("--compile", action="store_true", help="compile the engine's layers")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    has_card = torch.cuda.is_available()
    wanted = "cuda" if arguments.device == "auto" else arguments.device
    device = torch.device(wanted) if wanted == "cpu" or has_card else None
    if device is None:
        print("Nothing is measured: this machine has no CUDA device that PyTorch can use.")
    result = Result()
    sizes = arguments.size or ["1B", "8B"]
    measure(device, sizes, arguments.repeat, result, arguments.compile)
    result.report(arguments.json)


if __name__ == "__main__":
    main()
