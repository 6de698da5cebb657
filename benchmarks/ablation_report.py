"""Tables and goals of the ablation, from what its windows showed. Pure: figures in, rows out."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.ablation_arms import ARMS, COUPLED, Arm, Layout
from benchmarks.picture_load import LoadFigures, percentile_ms
from common.result import Goal

GOAL_TILES = 5
NO_CELL = "The cell of 5 tiles was not measured."


@dataclass(frozen=True, slots=True)
class Cell:
    """A kind of request.

    Attributes:
        num_tiles: Of its picture, thumbnail included.
        output_tokens: Of its answer.
    """

    num_tiles: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Window:
    """What one arm did in one cell in one round.

    Attributes:
        cell: What was asked.
        arm: Who was asked.
        figures: What its clients saw, and CPU time of each replica process.
    """

    cell: Cell
    arm: Arm
    figures: LoadFigures


@dataclass(frozen=True, slots=True)
class PaperFactor:
    """Requests a second of the paper's Table 18, as factors of its baseline.

    There DvD has vision GPUs beside the eight that all settings have, so hardware is not equal.
    """

    model_38b: float
    model_241b: float

    def __str__(self) -> str:
        return f"{self.model_38b:.2f}, {self.model_241b:.2f}"


# By tiles and ViR; its pictures of 448, 896 and 1344 px are of 1, 5 and 10 tiles.
PAPER = {
    (1, False): PaperFactor(1.19, 1.24),
    (1, True): PaperFactor(1.50, 1.85),
    (5, False): PaperFactor(1.87, 1.86),
    (5, True): PaperFactor(4.05, 3.47),
    (10, False): PaperFactor(1.97, 2.01),
    (10, True): PaperFactor(3.47, 3.12),
}


class AblationReport:
    """Compares arms.

    Args:
        windows: Everything that was measured, rounds in order: those of a cell have equal numbers
            of windows of every arm.
        prefill_seconds: Of a request that is alone, by cell and decoupled arm.
    """

    def __init__(
        self, windows: Sequence[Window], prefill_seconds: Mapping[tuple[Cell, Arm], float]
    ) -> None:
        self._windows = windows
        self._prefill_seconds = prefill_seconds
        self.cells = tuple(dict.fromkeys(window.cell for window in windows))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each cell and arm."""
        return list(self._rows())

    def goals(self, output_tokens: int) -> list[Goal]:
        """The goals of the issue, on answers of this length."""
        cell = Cell(GOAL_TILES, output_tokens)
        measured = cell in self.cells
        plain, vir = Arm(Layout.DECOUPLED, False), Arm(Layout.DECOUPLED, True)
        itl = self._itl_ratio(cell) if measured else None
        rates = [
            ("requests/s, DvD vs coupled, 5 tiles", plain, False, 1.0),
            ("requests/s, DvD + ViR vs coupled, 5 tiles", vir, False, 1.3),
            ("requests/s, DvD + ViR vs coupled + ViR, 5 tiles", vir, True, 1.0),
        ]
        reason = None if measured else NO_CELL
        name = "`benchmarks/dvd_ablation.py`: ITL p99 with pictures in flight, DvD vs coupled"
        return [
            Goal(name, itl, 0.3, "lower", reason),
            *(
                Goal(
                    each,
                    statistics.median(self.ratios(cell, arm, has_vir)) if measured else None,
                    target,
                    "higher",
                    reason,
                )
                for each, arm, has_vir, target in rates
            ),
        ]

    def baseline(self, cell: Cell, has_vir: bool) -> Arm:
        """The coupled arm with the most requests a second, by the median of its rounds."""
        arms = [Arm(layout, has_vir) for layout in COUPLED]
        return max(arms, key=lambda arm: statistics.median(self._rates(cell, arm)))

    def ratios(self, cell: Cell, arm: Arm, has_vir: bool) -> list[float]:
        """Requests a second as factors of the baseline's, round by round.

        Args:
            cell: Which requests.
            arm: Which arm.
            has_vir: Whether the baseline compresses.
        """
        baseline = self._rates(cell, self.baseline(cell, has_vir))
        rates = self._rates(cell, arm)
        return [rate / base if base else 0.0 for rate, base in zip(rates, baseline, strict=True)]

    def _itl_ratio(self, cell: Cell) -> float | None:
        """Median of the ratios of p99 in windows beside each other.

        The p99 of all windows together would be that of the moments in which the machine stood
        still, whoever was asked then.
        """
        decoupled = self._of(cell, Arm(Layout.DECOUPLED, False))
        coupled = self._of(cell, self.baseline(cell, False))
        pairs = [
            (_itl_ms([ours], 99), _itl_ms([theirs], 99))
            for ours, theirs in zip(decoupled, coupled, strict=True)
        ]
        ratios = [ours / theirs for ours, theirs in pairs if ours is not None and theirs]
        return statistics.median(ratios) if ratios else None

    def _rows(self) -> Iterator[dict[str, Any]]:
        for cell in self.cells:
            for arm in ARMS:
                windows = self._of(cell, arm)
                if windows:
                    yield self._row(cell, arm, windows)

    def _row(self, cell: Cell, arm: Arm, windows: list[Window]) -> dict[str, Any]:
        rates = self._rates(cell, arm)
        ratios, alike = (self.ratios(cell, arm, has_vir) for has_vir in (False, arm.has_vir))
        ttft = [seconds for window in windows for seconds in window.figures.ttft_seconds]
        paper = PAPER.get((cell.num_tiles, arm.has_vir))
        has_paper = paper is not None and arm.layout is Layout.DECOUPLED
        return {
            "tiles": cell.num_tiles,
            "output": cell.output_tokens,
            "arm": arm.name,
            "requests/s": statistics.median(rates),
            "spread": f"{min(rates):.2f}-{max(rates):.2f}",
            "vs coupled": statistics.median(ratios),
            "vs coupled, same resolutions": statistics.median(alike),
            "goodput/s": statistics.median(each.figures.goodput_per_second for each in windows),
            "ttft p50 ms": percentile_ms(ttft, 50),
            "ttft p99 ms": percentile_ms(ttft, 99),
            "itl p50 ms": _itl_ms(windows, 50),
            "itl p99 ms": _itl_ms(windows, 99),
            "cpu ms/request": " + ".join(f"{ms:.0f}" for ms in _cpu_ms(windows)),
            "ViT : prefill : decode": self._shares(cell, arm, windows),
            "compressed": statistics.median(each.figures.compressed_share for each in windows),
            "failed": sum(each.figures.num_failed for each in windows),
            "paper, unequal hardware (38B, 241B)": str(paper) if has_paper else None,
        }

    def _shares(self, cell: Cell, arm: Arm, windows: list[Window]) -> str | None:
        """Of the CPU time of a request, in percent; what is no lone prefill is decode."""
        prefill = self._prefill_seconds.get((cell, arm))
        if prefill is None:
            return None
        vision_ms, language_ms = _cpu_ms(windows)
        prefill_ms = min(1000 * prefill, language_ms)
        parts = (vision_ms, prefill_ms, language_ms - prefill_ms)
        return " : ".join(f"{100 * part / sum(parts):.0f}" for part in parts)

    def _of(self, cell: Cell, arm: Arm) -> list[Window]:
        return [each for each in self._windows if each.cell == cell and each.arm == arm]

    def _rates(self, cell: Cell, arm: Arm) -> list[float]:
        return [each.figures.requests_per_second for each in self._of(cell, arm)]


def _itl_ms(windows: Sequence[Window], percent: float) -> float | None:
    gaps = [seconds for window in windows for seconds in window.figures.itl_seconds]
    return percentile_ms(gaps, percent)


def _cpu_ms(windows: Sequence[Window]) -> list[float]:
    """Of each replica process, for one request."""
    num_requests = sum(window.figures.num_requests for window in windows)
    spent = [
        sum(each) for each in zip(*(window.figures.cpu_seconds for window in windows), strict=True)
    ]
    return [1000 * seconds / num_requests if num_requests else 0.0 for seconds in spent]
