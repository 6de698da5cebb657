"""Does anything grow while one cluster is used badly for long.

    python -m benchmarks.soak --minutes 10 --json soak.json --plot soak.png

A whole cluster in one process, real but for Ray, so that all its memory, descriptors, asyncio tasks
and gRPC channels can be counted. Clients ask, leave early and run out of time; senders lie and fall
silent; the connections to the language replica break again and again. After every round the
cluster must hold nothing on behalf of any request, and then everything is counted.

The first quarter warms up. Growth is the median of the last quarter less that of the second.
"""

import argparse
import asyncio
import ctypes
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import grpc
import torch

from benchmarks.chart import Panel, draw_chart
from benchmarks.misuse import Misuse
from common.config import LanguageServiceConfig, RouterConfig, VisionServiceConfig
from common.result import Goal, Result
from tests.cutting_proxy import cutting_proxy
from tests.integration.idle import wait_until_idle
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster
from training.build_checkpoint import CheckpointOptions, build_checkpoint

REQUESTS_PER_ROUND = 16
LOOKS = 20  # tasks that are just ending are not counted: the least of so many looks is
# Caches are small, so that they are full after the warm-up.
OPTIONS = ClusterOptions(
    vision=VisionServiceConfig(feature_cache_bytes=4 << 20),
    language=LanguageServiceConfig(
        kv_tokens=8192, max_context_tokens=4096, sender_silence_seconds=1.0
    ),
    router=RouterConfig(grpc_port=0, max_remembered_images=16),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process holds when no request is under way.

    Attributes:
        minutes: Since the beginning.
        memory_mib: Resident.
        descriptors: Open files and sockets.
        tasks: Of asyncio.
        channels: Of gRPC.
        requests: Begun so far.
    """

    minutes: float
    memory_mib: float
    descriptors: int
    tasks: int
    channels: int
    requests: int


async def take_sample(cluster: LocalCluster, minutes: float, requests: int) -> Sample:
    """Count everything."""
    await wait_until_idle(cluster)
    descriptors, tasks = [], []
    for _ in range(LOOKS):
        await cluster.client.model()
        descriptors.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208
        tasks.append(len(asyncio.all_tasks()))
    return Sample(minutes, resident_mib(), min(descriptors), min(tasks), count_channels(), requests)


def resident_mib() -> float:
    """Memory of this process, without what the allocator keeps of memory that was given back."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def count_channels() -> int:
    """Channels that somebody still refers to."""
    gc.collect()
    # By type: asking some objects for their class makes them import or warn.
    return sum(issubclass(type(each), grpc.aio.Channel) for each in gc.get_objects())


async def soak(model_dir: Path, minutes: float, result: Result) -> list[Sample]:
    """Use one cluster badly for so long."""
    samples: list[Sample] = []
    async with local_cluster(model_dir, OPTIONS) as cluster:
        language = next(each for each in cluster.roster.replicas if each.role == "language")
        misuse = Misuse(cluster, language.address, seed=0)
        async with cutting_proxy(language.address, misuse.cuts()) as (address, proxy):
            await cluster.roster.put(replace(language, address=address))
            began = time.monotonic()
            while (passed := (time.monotonic() - began) / 60) < minutes:
                await cluster.router.languages.wait_until_up(1)
                await misuse.round(REQUESTS_PER_ROUND)
                requests = sum(misuse.counts.values())
                samples.append(await take_sample(cluster, passed, requests))
            await misuse.close()
            misuse.counts["connections broken"] = proxy.num_connections
    for what, count in sorted(misuse.counts.items()):
        result.rows.append({"measured": what, "value": count})
    return samples


def judge(samples: list[Sample], result: Result) -> None:
    """Turn growth into goals."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    measures: list[tuple[str, Callable[[Sample], float], float]] = [
        ("growth of memory, MiB", lambda each: each.memory_mib, 32),
        ("growth of descriptors", lambda each: each.descriptors, 2),
        ("growth of asyncio tasks", lambda each: each.tasks, 2),
        ("growth of gRPC channels", lambda each: each.channels, 0),
    ]
    for name, measure, target in measures:
        grown = statistics.median(map(measure, late)) - statistics.median(map(measure, early))
        result.goals.append(Goal(name, grown, target, "lower"))


def plot(samples: list[Sample], file: Path) -> None:
    """Draw every curve."""
    panels = [
        Panel("resident memory, MiB", [each.memory_mib for each in samples]),
        Panel("open descriptors", [each.descriptors for each in samples]),
        Panel("asyncio tasks", [each.tasks for each in samples]),
        Panel("gRPC channels", [each.channels for each in samples]),
        Panel("requests so far", [each.requests for each in samples]),
    ]
    draw_chart([each.minutes for each in samples], panels, file)


def main() -> None:
    """Soak, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--plot", type=Path, help="draw the curves into this PNG file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = Result()
    with tempfile.TemporaryDirectory() as folder:
        model_dir = Path(folder)
        build_checkpoint(model_dir, CheckpointOptions(dtype="float32"))
        samples = asyncio.run(soak(model_dir, arguments.minutes, result))
    judge(samples, result)
    result.show()
    if arguments.plot is not None:
        plot(samples, arguments.plot)
    if arguments.json is not None:
        result.rows += [{"measured": "sample", **asdict(each)} for each in samples]
        result.write(arguments.json)


if __name__ == "__main__":
    main()
