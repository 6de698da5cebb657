"""What the embedding wire costs beside a raw TCP socket and beside plain protobuf.

    python -m benchmarks.transport --repeat 7 --json transport.json

Three contenders, each end of each in a process of its own, all over loopback TCP: ours (the real
sender, codec, receiver and inbox, checksums on, the allocator settings of a replica), naive (a
unary call a tile, protobuf `bytes`, default allocator) and raw (a socket read into memory that is
there already). They take turns in every repetition, and a goal is the median over repetitions.

Where the two ends run decides: on one shared core throughput is what is left of the CPU, on a core
each it is the slower end. Goals are from one shared core; rows tell both. Last, eight pictures
are sent at once to a receiver that gives credit and takes nothing in, and the sender's memory is
watched.
"""

import argparse
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.end_process import EndProcess
from benchmarks.transport_payload import PICTURE, TILE, Size
from common.config import LanguageServiceConfig
from common.result import Goal, Result
from deploy.allocator import ALLOCATOR

CONTENDERS = {"ours": ALLOCATOR, "naive": {}, "raw": {}}
SHARED, APART = "one shared core", "a core each"
STALLED_PICTURES = 8
STALL_SECONDS = 3.0
SAMPLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """What a contender did in one turn.

    Attributes:
        bytes_per_second: Payload over wall time.
        cpu_seconds_per_gb: CPU time of both ends, for 1e9 payload bytes.
        median_seconds: Of one payload.
    """

    bytes_per_second: float
    cpu_seconds_per_gb: float
    median_seconds: float


class Connection:
    """Both ends of one contender."""

    def __init__(
        self, kind: str, receiver_core: int, sender_core: int, environment: Mapping[str, str]
    ) -> None:
        self.receiver = EndProcess(
            ["benchmarks.transport_receivers", kind], {receiver_core}, environment
        )
        address = self.receiver.ready["address"]
        self.sender = EndProcess(
            ["benchmarks.transport_senders", kind, address], {sender_core}, environment
        )

    def take_turn(self, size: Size, times: int) -> Turn:
        """Send so many payloads one after the other."""
        before = self.receiver.ask()["cpu_seconds"]
        sent = self.sender.ask(size=size.name, times=times)
        cpu = sent["cpu_seconds"] + self.receiver.ask()["cpu_seconds"] - before
        num_bytes = times * size.num_bytes
        return Turn(
            bytes_per_second=num_bytes / sent["seconds"],
            cpu_seconds_per_gb=cpu / num_bytes * 1e9,
            median_seconds=statistics.median(sent["each_seconds"]),
        )

    def close(self) -> None:
        """End both."""
        self.sender.close()
        self.receiver.close()


class Benchmark:
    """All measurements.

    Args:
        repeat: Repetitions.
        result: Gets rows and goals.
    """

    def __init__(self, repeat: int, result: Result) -> None:
        self._repeat = repeat
        self._result = result

    def contenders(self, placement: str) -> None:
        """Throughput, CPU time and latency of all contenders."""
        first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
        sender_core = first if placement == SHARED else last
        connections = {
            kind: Connection(kind, first, sender_core, environment)
            for kind, environment in CONTENDERS.items()
        }
        try:
            bulk = self._turns(connections, placement, PICTURE, 8)
            single = self._turns(connections, placement, TILE, 40)
        finally:
            for connection in connections.values():
                connection.close()
        if placement == SHARED:
            self._goals(bulk, single)

    def stall(self) -> None:
        """The sender's memory while the receiver takes nothing in after the manifests."""
        cores = os.sched_getaffinity(0)
        # With the default allocator, which gives memory back: so growth is what is held.
        connection = Connection("ours", min(cores), max(cores), {})
        sender, receiver = connection.sender, connection.receiver
        try:
            sender.ask(size=TILE.name, times=1)
            before = sender.resident_bytes()
            receiver.ask(stall=True)
            sender.tell(size=PICTURE.name, times=STALLED_PICTURES, together=True)
            self._watch(sender, before)
            receiver.ask(stall=False)
            sender.answer()
        finally:
            connection.close()

    def _watch(self, sender: EndProcess, before: int) -> None:
        what = f"{STALLED_PICTURES} pictures of {PICTURE.num_bytes >> 20} MiB, receiver stalled"
        credit = STALLED_PICTURES * LanguageServiceConfig().credit_bytes
        self._row(what, "credit of all streams", credit / 2**20, "MiB")
        began = time.monotonic()
        while (passed := time.monotonic() - began) < STALL_SECONDS:
            grown = sender.resident_bytes() - before
            self._row(what, f"sender's memory after {passed:.2f} s", grown / 2**20, "MiB")
            time.sleep(SAMPLE_SECONDS)

    def _turns(
        self, connections: dict[str, Connection], placement: str, size: Size, times: int
    ) -> dict[str, list[Turn]]:
        turns: dict[str, list[Turn]] = {kind: [] for kind in connections}
        for repetition in range(self._repeat + 1):
            for kind, connection in connections.items():
                turn = connection.take_turn(size, times)
                if repetition:  # the first round warms up
                    turns[kind].append(turn)
                    what = f"{size.num_bytes >> 20} MiB, {placement}"
                    self._row(f"throughput, {what}", kind, turn.bytes_per_second / 1e6, "MB/s")
                    self._row(f"CPU of both ends, {what}", kind, turn.cpu_seconds_per_gb, "s/GB")
                    self._row(f"latency, {what}", kind, turn.median_seconds * 1e3, "ms")
        return turns

    def _goals(self, bulk: dict[str, list[Turn]], single: dict[str, list[Turn]]) -> None:
        self._goal(
            "CPU seconds per GB, both sides, TCP, checksum on, through the real inbox",
            [turn.cpu_seconds_per_gb for turn in bulk["ours"]], 1.7, "lower",
        )  # fmt: skip
        for rival, name, target in (
            ("naive", "naive protobuf (unary `bytes`, default allocator)", 2.2),
            ("raw", "raw TCP", 0.4),
        ):
            ratios = [
                ours.bytes_per_second / theirs.bytes_per_second
                for ours, theirs in zip(bulk["ours"], bulk[rival], strict=True)
            ]
            self._goal(f"throughput vs {name}, same run, one shared core", ratios, target)
        ratios = [
            ours.median_seconds / theirs.median_seconds
            for ours, theirs in zip(single["ours"], single["raw"], strict=True)
        ]
        self._goal("p50 of one 2 MiB embedding vs raw TCP", ratios, 3.5, "lower")

    def _row(self, what: str, who: str, value: float, unit: str) -> None:
        self._result.rows.append({"measured": what, "by": who, "value": value, "unit": unit})

    def _goal(
        self, name: str, values: Sequence[float], target: float, better: str = "higher"
    ) -> None:
        value = statistics.median(values)
        self._result.goals.append(Goal(name, value, target, better))  # type: ignore[arg-type]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=7, help="repetitions of each measurement")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    result = Result()
    benchmark = Benchmark(arguments.repeat, result)
    for placement in (SHARED, APART):
        benchmark.contenders(placement)
    benchmark.stall()
    result.report(arguments.json)


if __name__ == "__main__":
    main()
