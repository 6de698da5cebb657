"""The shape of the paper's Table 18 at equal hardware: what do DvD and ViR bring, two threads each.

    python -m benchmarks.dvd_ablation --json dvd_ablation.json

Servers that are coupled, in one process of two threads or in two of one, and servers that are
decoupled, each with and without the visual resolution router, answer the same closed-loop loads of
pictures that are all different, so that no cache helps. Engines, batching, element type, threads
and room in memory are equal; `benchmarks/ablation_arms.py` says how. All servers run all the time
and take turns within each round, every other time in the reverse order, so that a machine that
grows slower for a while harms nobody in particular. The baseline of a cell is the better of the
coupled ones there.

Times are wall times on a machine where client, router and servers share the processors. CPU time
of the replica processes for one request stands beside them: it tells where the work is when others
make the machine slow.
"""

import argparse
import asyncio
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.ablation_arms import ARMS, Arm, Layout
from benchmarks.ablation_models import SHAPE, SIDES, build_model
from benchmarks.ablation_report import AblationReport, Cell, Window
from benchmarks.ablation_table import shares_of, table_of
from benchmarks.balanced_door import BalancedDoor
from benchmarks.deployment import Served, serving
from benchmarks.picture_load import Workload, conversations_of, offer
from benchmarks.round_budget import RoundBudget
from common.result import Result
from deploy.bench.conversations import Conversation
from deploy.bench.grpc_door import GrpcDoor
from deploy.bench.objectives import Objective, parse_objectives
from training.checkpoint_shape import CheckpointShape

GOAL_OUTPUT = 48
# What the goals are about is measured twice a round, forwards and backwards.
DEFAULT_CELLS = (Cell(1, 48), Cell(5, 48), Cell(5, 96), Cell(10, 48), Cell(5, 48))
FULL_CELLS = tuple(Cell(tiles, output) for tiles in SIDES for output in (16, 48, 96))
NUM_LONE = 3
# More than any arm answers in so many seconds and a warm-up.
PICTURES_A_SECOND = 80
WARM_UP_ROUNDS = 4
TABLE_COLUMNS = 132


@dataclass(frozen=True, slots=True)
class Running:
    """An arm that runs.

    Attributes:
        arm: Which.
        servers: Its servers.
        door: To all of them.
    """

    arm: Arm
    servers: list[Served]
    door: BalancedDoor

    @property
    def cpu_seconds(self) -> tuple[float, ...]:
        """Of each replica process so far."""
        return tuple(seconds for server in self.servers for seconds in server.cpu_seconds)


class Ablation:
    """One run of the benchmark.

    Args:
        arguments: From the command line.
        shape: Of the models.
        cells: What is asked in each round; what stands there twice is asked twice.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        shape: CheckpointShape = SHAPE,
        cells: tuple[Cell, ...] = DEFAULT_CELLS,
    ) -> None:
        self._concurrency: int = arguments.concurrency
        self._seconds: float = arguments.seconds
        self._rounds: int = arguments.rounds
        self._budget = RoundBudget(60 * arguments.minutes, time.monotonic)
        self._seeds: list[int] = arguments.seeds
        self._objectives: tuple[Objective, ...] = parse_objectives(arguments.goodput)
        self._cells = cells
        self._shape = shape
        self.windows: list[Window] = []
        self.prefill_seconds: dict[tuple[Cell, Arm], float] = {}

    async def run(self, folder: Path) -> None:
        """Start all arms, measure all cells.

        Args:
            folder: For the models.
        """
        async with AsyncExitStack() as stack:
            running = [await self._start(arm, folder, stack) for arm in ARMS]
            for cell in dict.fromkeys(self._cells):
                await self._measure_prefill(cell, running)
            for seed, number in self._turns():
                for place, cell in enumerate(self._cells):
                    asked = self._conversations(cell, f"{seed}/{number}/{place}")
                    for each in reversed(running) if (number + place) % 2 else running:
                        await self._measure(cell, each, asked)

    async def _start(self, arm: Arm, folder: Path, stack: AsyncExitStack) -> Running:
        _say(f"starting {arm.name}")
        model_dir = await asyncio.to_thread(build_model, folder, arm.has_vir, self._shape)
        servers = await stack.enter_async_context(serving(arm.servers(model_dir)))
        door = BalancedDoor([GrpcDoor(server.router.address) for server in servers])
        stack.push_async_callback(door.close)
        return Running(arm, servers, door)

    async def _measure_prefill(self, cell: Cell, running: list[Running]) -> None:
        """How long the prefill of a request takes that is alone."""
        for each in running:
            if each.arm.layout is Layout.DECOUPLED:
                workload = self._workload(cell, 1, 0.0)
                asked = conversations_of(workload, NUM_LONE, f"alone/{cell}")
                figures = await offer(each.door, asked, workload)
                if figures.prefill_seconds:
                    seconds = statistics.median(figures.prefill_seconds)
                    self.prefill_seconds[cell, each.arm] = seconds

    async def _measure(self, cell: Cell, running: Running, asked: list[Conversation]) -> None:
        workload = self._workload(cell, self._concurrency, self._seconds)
        figures = await offer(
            running.door, asked, workload, self._objectives, lambda: running.cpu_seconds
        )
        self.windows.append(Window(cell, running.arm, figures))
        _say(
            f"{cell.num_tiles:2} tiles, {cell.output_tokens:3} tokens, {running.arm.name:25} "
            f"{figures.requests_per_second:6.2f} requests/s"
        )

    def _turns(self) -> Iterator[tuple[int, int]]:
        for number in range(self._rounds):
            for seed in self._seeds:
                if not self._budget.begin_round():
                    _say("no time for another round")
                    return
                _say(f"round {number + 1} of {self._rounds}, seed {seed}")
                yield seed, number

    def _conversations(self, cell: Cell, seed: str) -> list[Conversation]:
        workload = self._workload(cell, self._concurrency, self._seconds)
        num = round(self._seconds * PICTURES_A_SECOND / (1 + cell.num_tiles))
        num += WARM_UP_ROUNDS * self._concurrency
        return conversations_of(workload, num, f"{seed}/{cell}")

    def _workload(self, cell: Cell, concurrency: int, seconds: float) -> Workload:
        return Workload(SIDES[cell.num_tiles], cell.output_tokens, concurrency, seconds)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="turns of all arms, for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of pictures and texts")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one window")
    parser.add_argument(
        "--minutes",
        type=float,
        default=14.0,
        help="begin no further round that would end later; inf for no bound",
    )
    parser.add_argument("--concurrency", type=int, default=12, help="requests under way")
    parser.add_argument(
        "--goodput", nargs="+", default=["ttft:2000", "tpot:100"], help="what a good answer keeps"
    )
    parser.add_argument("--full", action="store_true", help="all lengths at all sizes; no bound")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    if arguments.full:
        arguments.minutes = math.inf
    cells = FULL_CELLS if arguments.full else DEFAULT_CELLS
    ablation = Ablation(arguments, cells=cells)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(ablation.run(Path(folder)))
    show(AblationReport(ablation.windows, ablation.prefill_seconds), arguments.json)


def show(report: AblationReport, file: Path | None) -> None:
    """Print the table and the goals; write all of it where a file is named."""
    result = Result(report.rows(), report.goals(GOAL_OUTPUT))
    console = Console()
    console.width = max(console.width, TABLE_COLUMNS)
    console.print(table_of(result.rows))
    for sentence in shares_of(result.rows):
        console.print(sentence)
    Result(goals=result.goals).show()
    if file is not None:
        result.write(file)


if __name__ == "__main__":
    main()
