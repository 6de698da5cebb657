"""What a router process finds of its supervisor and its replicas."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from common.config import RouterConfig
from common.model_files import fingerprint
from common.types import ReplicaAddress, ReplicaRole
from deploy.roster import Roster, RosterServicer
from deploy.router_process import RouterProcess
from protos.dvd.v1 import (
    language_pb2_grpc,
    vision_pb2_grpc,
)
from router.server import RouterSettings

PATIENCE_SECONDS = 30.0


class IdleReplica:
    """Says who it is and that it has nothing to do.

    Attributes:
        info: Answer to the question who it is.
        load: Only load report.
    """

    def __init__(self, info: Any, load: Any) -> None:
        self.info = info
        self.load = load

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return self.info

    async def WatchLoad(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        yield self.load
        await asyncio.Event().wait()


class IdleVision(IdleReplica, vision_pb2_grpc.VisionServiceServicer):
    """A vision replica."""


class IdleLanguage(IdleReplica, language_pb2_grpc.LanguageServiceServicer):
    """A language replica."""


class NoticingServicer(RosterServicer):
    """Notices that a router follows the roster."""

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self.followed = asyncio.Event()

    async def WatchRoster(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        self.followed.set()
        async for response in super().WatchRoster(request, context):
            yield response


class Supervisor:
    """What a router finds of its supervisor: a roster, at first without replicas."""

    def __init__(
        self, roster: Roster, followed: asyncio.Event, address: str, model_dir: Path
    ) -> None:
        self.roster = roster
        self.followed = followed
        self.address = address
        self.model_dir = model_dir
        self.fingerprint = fingerprint(model_dir)
        self.replicas: dict[ReplicaRole, str] = {}

    async def announce_replicas(self) -> None:
        """Put one replica of each role into the roster."""
        for role, address in self.replicas.items():
            await self.roster.put(
                ReplicaAddress(f"{role}-0", role, "first", address, "", self.fingerprint)
            )

    def settings(self, grpc_port: int = 0) -> RouterSettings:
        return RouterSettings(
            config=RouterConfig(grpc_port=grpc_port, http_port=0),
            model_name="tiny",
            model_dir=self.model_dir,
            fingerprint=self.fingerprint,
            max_context_tokens=100,
            supervisor=self.address,
            drain_seconds=0.0,
        )

    async def start(self, grpc_port: int = 0) -> RouterProcess:
        await self.announce_replicas()
        return await RouterProcess.start(self.settings(grpc_port), PATIENCE_SECONDS)
