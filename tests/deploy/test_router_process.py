"""A router as a child process: it says where it listens, and never outlives its supervisor."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from common.config import RouterConfig
from common.errors import StartupError
from common.model_files import fingerprint
from common.types import ReplicaAddress, ReplicaRole
from deploy.client import InferenceClient
from deploy.roster import Roster, RosterServicer
from deploy.router_process import RouterProcess
from protos.dvd.v1 import (
    language_pb2,
    language_pb2_grpc,
    replica_pb2,
    replica_pb2_grpc,
    vision_pb2,
    vision_pb2_grpc,
)
from router.server import RouterSettings
from tests.loopback import HOST, serving

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
            config=RouterConfig(grpc_port=grpc_port),
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


@pytest_asyncio.fixture
async def supervisor(flash_model_dir: Path) -> AsyncIterator[Supervisor]:
    roster = Roster()
    servicer = NoticingServicer(roster)
    served = fingerprint(flash_model_dir)
    who = replica_pb2.Replica(incarnation="first", fingerprint=served)
    info = replica_pb2.ServerInfo(replica=who)
    vision = IdleVision(
        vision_pb2.VisionServiceGetServerInfoResponse(info=info),
        vision_pb2.VisionServiceWatchLoadResponse(),
    )
    language = IdleLanguage(
        language_pb2.LanguageServiceGetServerInfoResponse(info=info),
        language_pb2.LanguageServiceWatchLoadResponse(),
    )
    async with (
        serving(vision_pb2_grpc.add_VisionServiceServicer_to_server, vision) as first,
        serving(language_pb2_grpc.add_LanguageServiceServicer_to_server, language) as second,
        serving(replica_pb2_grpc.add_RosterServiceServicer_to_server, servicer) as loopback,
    ):
        made = Supervisor(roster, servicer.followed, loopback.address, flash_model_dir)
        made.replicas = {ReplicaRole.VISION: first.address, ReplicaRole.LANGUAGE: second.address}
        yield made


async def test_it_answers_until_it_is_stopped(supervisor: Supervisor) -> None:
    router = await supervisor.start()
    client = InferenceClient(router.ready.address)
    assert (await client.model(PATIENCE_SECONDS)).model == "tiny"
    await client.close()
    await router.stop()
    assert await router.wait() == 0
    await router.stop()


async def test_it_ends_with_its_supervisor(supervisor: Supervisor) -> None:
    router = await supervisor.start()
    router._process.stdin.close()
    assert await asyncio.wait_for(router.wait(), PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("ending", ["SIGTERM", "stdin"])
async def test_it_ends_while_it_still_waits_for_replicas(
    supervisor: Supervisor, ending: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router.server"), stdin=asyncio.subprocess.PIPE
    )
    process.stdin.write(supervisor.settings().model_dump_json().encode() + b"\n")
    await process.stdin.drain()
    await asyncio.wait_for(supervisor.followed.wait(), PATIENCE_SECONDS)
    process.terminate() if ending == "SIGTERM" else process.stdin.close()
    try:
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_port_in_use_is_told(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    first = await supervisor.start()
    port = int(first.ready.address.rpartition(":")[2])
    with pytest.raises(StartupError, match="The router did not start; its log is above"):
        await supervisor.start(port)
    await first.stop()
    log = capfd.readouterr().err
    assert f"Cannot listen on {HOST}:{port}; is the port in use?" in log
    assert "Traceback" not in log


async def test_one_that_takes_too_long_is_given_up(supervisor: Supervisor) -> None:
    with pytest.raises(StartupError, match=r"not ready after 0\.001 seconds"):
        await RouterProcess.start(supervisor.settings(), 0.001)
