"""A deployment to measure: replica processes, a router before them, and the door to ask.

Every part is a process of its own and is the product's, but that no Ray starts them. A deployment
of several servers has a router for each, and a door that gives a request to the one with the
fewest under way.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.replica_process import ADDRESSES, ReplicaProcessSettings
from common.config import RouterConfig
from common.errors import StartupError
from common.model_config import load_model_config
from common.model_files import fingerprint
from common.rpc import RpcServer
from common.types import ReplicaAddress
from deploy.roster import SERVICE_NAME, Roster, RosterServicer
from deploy.router_process import RouterProcess
from protos.dvd.v1 import replica_pb2_grpc
from router.server import RouterReady, RouterSettings

HOST = "127.0.0.1"
START_SECONDS = 180.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """One router and the replica processes behind it.

    Attributes:
        processes: The replica processes; at least one replica of each role in all.
        router: Of the router.
    """

    processes: tuple[ReplicaProcessSettings, ...]
    router: RouterConfig


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs.

    Attributes:
        router: Where its router listens.
        pids: Its replica processes, in the order of the settings.
    """

    router: RouterReady
    pids: tuple[int, ...]

    @property
    def cpu_seconds(self) -> tuple[float, ...]:
        """Of each replica process so far."""
        return tuple(cpu_seconds(pid) for pid in self.pids)


def cpu_seconds(pid: int) -> float:
    """What a process has used of all processors, in user and kernel mode."""
    # The name, in brackets, may have blanks in it.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def serving(servers: tuple[Server, ...]) -> AsyncIterator[list[Served]]:
    """Run servers for the length of the context.

    Raises:
        StartupError: One of them does not start.
    """
    async with AsyncExitStack() as running:
        yield [await running.enter_async_context(_server(server)) for server in servers]


@dataclass(frozen=True, slots=True)
class _Started:
    """A replica process and its replicas."""

    pid: int
    replicas: list[ReplicaAddress]


@asynccontextmanager
async def _server(server: Server) -> AsyncIterator[Served]:
    model_dir = server.processes[0].model_dir
    roster, rpc = Roster(), RpcServer()
    replica_pb2_grpc.add_RosterServiceServicer_to_server(RosterServicer(roster), rpc.server)
    async with AsyncExitStack() as running:
        supervisor = f"{HOST}:{await rpc.start(f'{HOST}:0', [SERVICE_NAME])}"
        running.push_async_callback(rpc.stop, 0)
        pids: list[int] = []
        for settings in server.processes:
            started = await running.enter_async_context(_replicas(settings))
            pids.append(started.pid)
            for address in started.replicas:
                await roster.put(address)
        longest = load_model_config(model_dir).max_context_tokens
        settings_of_router = RouterSettings(
            config=server.router,
            model_name=model_dir.name,
            model_dir=model_dir,
            fingerprint=fingerprint(model_dir),
            max_context_tokens=server.processes[0].language.context_tokens(longest),
            supervisor=supervisor,
            drain_seconds=0.0,
        )
        router = await RouterProcess.start(settings_of_router, START_SECONDS)
        running.push_async_callback(router.stop)
        yield Served(router.ready, tuple(pids))


@asynccontextmanager
async def _replicas(settings: ReplicaProcessSettings) -> AsyncIterator[_Started]:
    """Run one process for the length of the context."""
    threads = max(settings.vision.num_threads, settings.language.num_threads)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.replica_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    if process.stdin is None or process.stdout is None:
        raise StartupError("The replica process has no pipes.")
    try:
        process.stdin.write(settings.model_dump_json().encode() + b"\n")
        await process.stdin.drain()
        async with asyncio.timeout(START_SECONDS):
            line = await process.stdout.readline()
        if not line:
            raise StartupError("A replica process did not start; its log is above.")
        yield _Started(process.pid, ADDRESSES.validate_json(line))
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
