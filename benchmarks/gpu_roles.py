"""Both roles on one device: taking turns in one loop, or beside each other; with and without ViR.

The shape of the ablation of decoupled deployment where there is only one card, below the services:
no process, no network, no transfer. Coupled, one loop encodes a picture and then goes on with the
answers, as an engine does that runs the vision transformer itself. Decoupled, each role has a
thread and a stream of its own. With ViR three of four tiles are compressed, by decree: the gate of
a model with random weights means nothing, but it runs.
"""

import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_language import TimedLanguage
from common.tiling import TileGrid
from language_service.generation import EngineEvent, TokensGenerated
from language_service.prompt import Prompt, TextSegment, VisualSegment
from vision_service.engine import VisionEngine
from vision_service.images import TiledImage


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to serve.

    Attributes:
        is_coupled: Whether both roles take turns in one loop.
        compresses: Whether ViR compresses.
    """

    is_coupled: bool
    compresses: bool

    @property
    def name(self) -> str:
        """As tables have it."""
        return ("coupled" if self.is_coupled else "DvD") + (" + ViR" if self.compresses else "")


ARMS = tuple(Arm(coupled, compresses) for coupled in (True, False) for compresses in (False, True))


@dataclass(slots=True)
class Asked:
    """One request of a picture, and when its tokens came.

    Attributes:
        number: Which.
        begin: When the load began.
        token_times: Of every token.
    """

    number: int
    begin: float
    token_times: list[float] = field(default_factory=list)

    def note(self, event: EngineEvent) -> None:
        """Note the time of new tokens."""
        if isinstance(event, TokensGenerated):
            self.token_times += [time.perf_counter()] * len(event.token_ids)


class RolesOnOneDevice:
    """Serves the same requests in every way.

    Args:
        language: The engine of one role.
        vision: That of the other.
        pixels: [T, 3, S, S] float32, tiles of every picture.
        answer: Tokens of an answer.
    """

    def __init__(
        self, language: TimedLanguage, vision: VisionEngine, pixels: torch.Tensor, answer: int
    ) -> None:
        self._language, self._vision, self._answer = language, vision, answer
        self._pixels = pixels
        self._num_keys = 0

    def row(self, arm: Arm, num_requests: int, repeat: int) -> dict[str, Any]:
        """Answer all requests, asked at once; medians of some repetitions."""
        self._serve(arm, num_requests)
        runs = [self._serve(arm, num_requests) for _ in range(repeat)]
        gaps = [gap for run in runs for each in run for gap in np.diff(each.token_times)]
        firsts = [each.token_times[0] - each.begin for run in runs for each in run]
        seconds = [max(each.token_times[-1] for each in run) - run[0].begin for run in runs]
        return {
            "requests/s": num_requests / statistics.median(seconds),
            "first token p50 ms": statistics.median(firsts) * 1e3,
            "between tokens p50 ms": float(np.percentile(gaps, 50)) * 1e3,
            "between tokens p99 ms": float(np.percentile(gaps, 99)) * 1e3,
        }

    def _serve(self, arm: Arm, num_requests: int) -> list[Asked]:
        begin = time.perf_counter()
        asked = [Asked(number, begin) for number in range(num_requests)]
        (self._take_turns if arm.is_coupled else self._side_by_side)(asked, arm.compresses)
        return asked

    def _take_turns(self, asked: Sequence[Asked], compresses: bool) -> None:
        for each in asked:
            self._submit(each, self._embed(compresses))
            self._language.engine.step()
        while self._language.engine.step():
            pass

    def _side_by_side(self, asked: Sequence[Asked], compresses: bool) -> None:
        work = threading.Event()
        self._language.engine.on_work = work.set
        encoder = threading.Thread(target=self._encode_all, args=(asked, compresses))
        encoder.start()
        while encoder.is_alive() or self._language.engine.waiting_requests:
            if not self._language.engine.step():
                work.wait(0.001)
                work.clear()
        encoder.join()
        while self._language.engine.step():
            pass

    def _encode_all(self, asked: Sequence[Asked], compresses: bool) -> None:
        on_card = self._language.device.type == "cuda"
        with torch.cuda.stream(torch.cuda.Stream()) if on_card else nullcontext():
            for each in asked:
                self._submit(each, self._embed(compresses))

    def _embed(self, compresses: bool) -> torch.Tensor:
        """Encode and project one picture."""
        num_tiles = len(self._pixels)
        self._num_keys += 1
        key = self._num_keys.to_bytes(8, "little")
        tiled = TiledImage(
            TileGrid(num_tiles, 1, has_thumbnail=False), self._pixels, tuple(range(num_tiles))
        )
        waiter = self._vision.submit_encode(key, tiled)
        while not waiter.done():
            self._vision.step()
        mask = tuple(compresses and index % 4 != 0 for index in range(num_tiles))
        projected = self._vision.submit_project(waiter.result(), mask, torch.bfloat16)
        while not projected.done():
            self._vision.step()
        return projected.result().embeddings

    def _submit(self, asked: Asked, embeddings: torch.Tensor) -> None:
        words = TextSegment(tuple(range(1, 17)))
        prompt = Prompt((words, VisualSegment(embeddings), words))
        self._language.submit(prompt, self._answer, asked.note)
