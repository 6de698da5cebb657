"""A process with a vision replica, a language replica, or both on one thread: a coupled server.

    python -m benchmarks.replica_process

Reads its settings as JSON from stdin, says as JSON on stdout where its replicas are, and serves
until stdin ends. The replicas are those that `dvd serve` runs, without Ray.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import torch
from pydantic import TypeAdapter

from benchmarks.coupled_thread import CoupledThread
from common.config import ImageLimits, LanguageServiceConfig, StrictModel, VisionServiceConfig
from common.engine_thread import EngineThread, MakesEngineThread
from common.replica_server import ReplicaSpec
from common.types import ReplicaAddress, ReplicaRole
from language_service.replica import LanguageReplica
from vision_service.replica import VisionReplica

HOST = "127.0.0.1"
ADDRESSES = TypeAdapter(list[ReplicaAddress])


class ReplicaProcessSettings(StrictModel):
    """What such a process is told.

    Attributes:
        name: Ends the names of its replicas.
        model_dir: Model directory.
        roles: Which replicas it has; both share one thread.
        vision: Of the vision replica.
        language: Of the language replica.
        core: The one of this process's processors, counted from 0, that it stays on; None for any.
    """

    name: str
    model_dir: Path
    roles: tuple[ReplicaRole, ...]
    vision: VisionServiceConfig
    language: LanguageServiceConfig
    core: int | None = None


def engine_crashed() -> None:
    """End the process: nothing that it would measure means anything."""
    os.kill(os.getpid(), signal.SIGKILL)


def make_replicas(settings: ReplicaProcessSettings) -> list[VisionReplica | LanguageReplica]:
    """Load all of them."""
    make_thread: MakesEngineThread = EngineThread
    if len(settings.roles) > 1:
        make_thread = CoupledThread().make
    replicas: list[VisionReplica | LanguageReplica] = []
    for role in settings.roles:
        spec = ReplicaSpec(f"{role}-{settings.name}", settings.model_dir, "cpu")
        if role is ReplicaRole.VISION:
            replicas.append(
                VisionReplica(spec, settings.vision, ImageLimits(), engine_crashed, make_thread)
            )
        else:
            replicas.append(
                LanguageReplica(spec, settings.language, engine_crashed, make_thread=make_thread)
            )
    return replicas


async def serve(settings: ReplicaProcessSettings) -> None:
    """Serve until stdin ends."""
    replicas = make_replicas(settings)
    addresses = [await replica.start(HOST) for replica in replicas]
    sys.stdout.write(ADDRESSES.dump_json(addresses).decode() + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    for replica in replicas:
        await replica.stop(0)


def main() -> None:
    """Read the settings and serve."""
    settings = ReplicaProcessSettings.model_validate_json(sys.stdin.readline())
    if settings.core is not None:
        # Before there are other threads, which all stay there.
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[settings.core % len(allowed)]})
    torch.set_num_interop_threads(1)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
