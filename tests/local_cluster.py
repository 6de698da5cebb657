"""A whole cluster in one process: real replicas, real router, real gRPC on loopback, no Ray."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from common.config import (
    ImageLimits,
    LanguageServiceConfig,
    RouterConfig,
    StrictModel,
    VisionServiceConfig,
)
from common.engine_thread import EngineThread, MakesEngineThread
from common.model_config import load_model_config
from common.model_files import fingerprint
from common.replica_server import ReplicaSpec
from common.rpc import RpcServer
from deploy.client import InferenceClient
from deploy.roster import SERVICE_NAME, Roster, RosterServicer
from language_service.replica import LanguageReplica
from protos.dvd.v1 import replica_pb2_grpc
from router.server import Router, RouterSettings
from tests.thread_crew import ThreadCrew
from vision_service.replica import VisionReplica

HOST = "127.0.0.1"


class ClusterOptions(StrictModel):
    """What a test wants of its cluster."""

    num_vision: int = 1
    num_language: int = 1
    tensor_parallel_size: int = 1
    vision: VisionServiceConfig = VisionServiceConfig()
    language: LanguageServiceConfig = LanguageServiceConfig(kv_tokens=16384)
    router: RouterConfig = RouterConfig(grpc_port=0)


@dataclass(frozen=True)
class LocalCluster:
    """Every part, within reach of a test."""

    client: InferenceClient
    address: str
    supervisor: str
    roster: Roster
    router: Router
    visions: list[VisionReplica] = field(default_factory=list)
    languages: list[LanguageReplica] = field(default_factory=list)


def engine_crashed() -> None:
    """Fail loudly: no test expects an engine thread to die."""
    raise AssertionError("an engine thread died")


def language_replica(
    spec: ReplicaSpec, options: ClusterOptions, make_thread: MakesEngineThread
) -> LanguageReplica:
    """A replica; where it has several ranks, the others are threads."""
    size = options.tensor_parallel_size
    crew = ThreadCrew(spec, options.language, size) if size > 1 else None
    return LanguageReplica(spec, options.language, engine_crashed, crew, make_thread)


@asynccontextmanager
async def local_cluster(
    model_dir: Path,
    options: ClusterOptions | None = None,
    make_thread: MakesEngineThread = EngineThread,
) -> AsyncIterator[LocalCluster]:
    """Run a cluster for the length of the context."""
    options = options or ClusterOptions()
    roster, rpc = Roster(), RpcServer()
    replica_pb2_grpc.add_RosterServiceServicer_to_server(RosterServicer(roster), rpc.server)
    supervisor = f"{HOST}:{await rpc.start(f'{HOST}:0', [SERVICE_NAME])}"
    visions = [
        VisionReplica(
            ReplicaSpec(f"vision-{index}", model_dir, "cpu"),
            options.vision,
            ImageLimits(),
            engine_crashed,
            make_thread,
        )
        for index in range(options.num_vision)
    ]
    languages = [
        language_replica(ReplicaSpec(f"language-{index}", model_dir, "cpu"), options, make_thread)
        for index in range(options.num_language)
    ]
    for replica in (*visions, *languages):
        await roster.put(await replica.start(HOST))
    router = Router(router_settings(model_dir, options, supervisor))
    ready = await router.start()
    await router.visions.wait_until_up(options.num_vision)
    await router.languages.wait_until_up(options.num_language)
    client = InferenceClient(ready.address)
    try:
        yield LocalCluster(client, ready.address, supervisor, roster, router, visions, languages)
    finally:
        await client.close()
        await router.stop()
        for replica in (*visions, *languages):
            await replica.stop(0)
        await rpc.stop(0)


def router_settings(model_dir: Path, options: ClusterOptions, supervisor: str) -> RouterSettings:
    """What a router of such a cluster is told."""
    longest = load_model_config(model_dir).max_context_tokens
    return RouterSettings(
        config=options.router,
        model_name="tiny",
        model_dir=model_dir,
        fingerprint=fingerprint(model_dir),
        max_context_tokens=options.language.context_tokens(longest),
        supervisor=supervisor,
        drain_seconds=0.0,
    )
