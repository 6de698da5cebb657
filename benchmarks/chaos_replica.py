"""Replicas as processes that can be killed and are back in a moment.

Ray starts a replica in seconds, most of which go into imports. Here a server that has imported
everything forks each replica, so that a run of a minute can kill dozens of them. What is forked is
the whole replica: weights, engine, server.
"""

import asyncio
import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from common.config import ImageLimits, LanguageServiceConfig, VisionServiceConfig
from common.replica_server import ReplicaSpec
from common.types import ReplicaAddress, ReplicaRole

HOST = "127.0.0.1"
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["vision_service.replica", "language_service.replica"])


@dataclass(frozen=True, slots=True)
class ReplicaOrder:
    """Which replica to run.

    Attributes:
        role: What it does.
        name: Its name on the roster.
        model_dir: The model.
        vision: Settings of a vision replica.
        language: Settings of a language replica.
    """

    role: ReplicaRole
    name: str
    model_dir: Path
    vision: VisionServiceConfig
    language: LanguageServiceConfig


class ReplicaProcess:
    """One replica under way."""

    def __init__(self, process: BaseProcess, address: ReplicaAddress) -> None:
        self.address = address
        self._process = process

    @classmethod
    async def start(cls, order: ReplicaOrder) -> "ReplicaProcess":
        """Fork a replica and wait until it serves."""
        ours, theirs = FORKS.Pipe()
        process = FORKS.Process(target=run_replica, args=(order, theirs), daemon=True)
        process.start()
        theirs.close()
        address = await asyncio.to_thread(ours.recv)
        return cls(process, address)

    async def kill(self) -> None:
        """Kill it without a warning."""
        self._process.kill()
        await asyncio.to_thread(self._process.join)


def run_replica(order: ReplicaOrder, told: Connection) -> None:
    """Serve until killed."""
    asyncio.run(_serve(order, told))


async def _serve(order: ReplicaOrder, told: Connection) -> None:
    from language_service.replica import LanguageReplica  # noqa: PLC0415 - torch stays out of reach
    from vision_service.replica import VisionReplica  # noqa: PLC0415 - of the process that forks

    spec = ReplicaSpec(order.name, order.model_dir, "cpu", HOST)
    replica: VisionReplica | LanguageReplica
    if order.role is ReplicaRole.VISION:
        replica = VisionReplica(spec, order.vision, ImageLimits(), lambda: os._exit(1))
    else:
        replica = LanguageReplica(spec, order.language, lambda: os._exit(1))
    told.send(await replica.start(HOST))
    await asyncio.Event().wait()
