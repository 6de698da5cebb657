"""The router process: builds every part, listens, and stops in order.

Started by the supervisor with its settings as JSON on stdin; says on stdout where it listens.
"""

import asyncio
import contextlib
import logging
import secrets
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from common.config import LogConfig, RouterConfig, StrictModel
from common.errors import StartupError
from common.log import set_up_logging
from common.metric_families import BuildInfo
from common.metrics import MetricsServer, serve_metrics
from common.model_config import load_model_config
from common.stats_log import StatsLog
from common.types import ReplicaAddress, ReplicaRole
from router.admission import Admission, AdmissionBounds
from router.doors import Doors
from router.front_door import FrontDoor
from router.language_client import LanguageClient
from router.metrics import RouterMetrics
from router.pipeline import Pipeline
from router.policies import make_policy
from router.replica_pool import ReplicaPool
from router.requests import RequestCost
from router.roster import follow_roster
from router.score_memory import ScoreMemory
from router.stats_line import RouterStatsLine
from router.validation import ServedModel
from router.vision_client import VisionClient

log = logging.getLogger(__name__)


class RouterSettings(StrictModel):
    """Everything a router process is told.

    Attributes:
        config: Its part of the configuration.
        model_name: Name that clients give.
        model_dir: Model directory; only its configuration is read.
        fingerprint: Of the model that is served.
        max_context_tokens: Longest prompt and answer, as deployed.
        supervisor: `host:port` of the roster service.
        drain_seconds: Time that running answers get when the router stops.
        log: How it logs.
        takes_over: Whether a router of ours that is about to stop may listen at the same ports.
        api_key: That callers of the doors must show; empty for none.
    """

    config: RouterConfig
    model_name: str
    model_dir: Path
    fingerprint: str
    max_context_tokens: int
    supervisor: str
    drain_seconds: float
    log: LogConfig = LogConfig()
    takes_over: bool = False
    api_key: str = Field(default="", repr=False)


class RouterReady(StrictModel):
    """What a router says once it listens.

    Attributes:
        address: `host:port` of the public gRPC door.
        http_address: `host:port` of the public HTTP door.
        metrics_address: `host:port` of `/metrics`.
    """

    address: str
    http_address: str
    metrics_address: str


class Router:
    """One router: pools, pipeline and doors."""

    def __init__(self, settings: RouterSettings) -> None:
        self._settings = settings
        config = settings.config
        model_config = load_model_config(settings.model_dir)
        message_bytes, seed = config.max_request_bytes, secrets.randbits(63)
        self.visions = ReplicaPool(
            ReplicaRole.VISION,
            settings.fingerprint,
            lambda address: VisionClient(address, message_bytes),
            config.health,
            make_policy(config.placement, config.placement.vision, seed),
            seed,
        )
        self.languages = ReplicaPool(
            ReplicaRole.LANGUAGE,
            settings.fingerprint,
            lambda address: LanguageClient(address, message_bytes),
            config.health,
            make_policy(config.placement, config.placement.language, seed),
            seed,
        )
        self.admission = Admission(_bounds(config), self._least_seconds)
        self.metrics = RouterMetrics(
            self.admission,
            self.visions,
            self.languages,
            BuildInfo(settings.model_name, settings.fingerprint),
        )
        pipeline = Pipeline(
            model_config,
            self.admission,
            self.visions,
            self.languages,
            settings.fingerprint,
            ScoreMemory(config.max_remembered_images),
            config.resolution.overload,
        )
        model = ServedModel(
            settings.model_name, settings.fingerprint, model_config, settings.max_context_tokens
        )
        self.doors = Doors(
            FrontDoor(config, model, pipeline, self.metrics),
            settings.api_key,
            settings.drain_seconds,
            self._is_ready,
        )
        self._metrics_server: MetricsServer | None = None
        self._roster: asyncio.Task[None] | None = None
        self._stats = StatsLog(
            RouterStatsLine(self.metrics.door, self.admission), settings.log.stats_interval_seconds
        )

    async def start(self) -> RouterReady:
        """Follow the roster; listen once a replica of each role takes work."""
        config = self._settings.config
        self._roster = asyncio.create_task(
            follow_roster(self._settings.supervisor, self._on_roster)
        )
        self._metrics_server = serve_metrics(
            self.metrics.registry, config.host, config.metrics_port
        )
        self._stats.start()
        await self.visions.wait_until_up(1)
        await self.languages.wait_until_up(1)
        await self.doors.open(self._settings.takes_over)
        return RouterReady(
            address=self.doors.grpc_address,
            http_address=self.doors.http_address,
            metrics_address=f"{config.host}:{self._metrics_server.port}",
        )

    async def stop(self) -> None:
        """Refuse new requests, let running ones end in the drain time, close everything."""
        await self.doors.close()
        await self._stats.stop()
        if self._roster is not None:
            self._roster.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._roster
        await self.visions.close()
        await self.languages.close()
        if self._metrics_server is not None:
            self._metrics_server.close()

    def _is_ready(self) -> bool:
        return bool(self.visions.num_up and self.languages.num_up)

    def _least_seconds(self, cost: RequestCost) -> float:
        """Least time in which a request could end, stages overlapping at best."""
        # Its own answer may be short, so only what is before it counts.
        seconds = self.languages.seconds_to_finish(1)
        if cost.tiles:
            seconds = max(seconds, self.visions.seconds_to_finish(cost.tiles))
        return seconds

    async def _on_roster(self, roster: Sequence[ReplicaAddress]) -> None:
        await self.visions.update(roster)
        await self.languages.update(roster)


def _bounds(config: RouterConfig) -> AdmissionBounds:
    return AdmissionBounds(
        requests=config.max_requests,
        cost=RequestCost(
            tiles=config.max_outstanding_tiles,
            tokens=config.max_outstanding_tokens,
            image_bytes=config.max_retained_image_bytes,
        ),
        retry_after_seconds=config.retry_after_seconds,
        priority_share=config.priority_share,
    )


async def run(settings: RouterSettings) -> None:
    """Run one router until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    watch_stdin(loop, stopping)
    router = Router(settings)
    told = asyncio.create_task(stopping.wait())
    starting = asyncio.create_task(router.start())
    # It may be told to stop while it still waits for replicas.
    await asyncio.wait({told, starting}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        sys.stdout.write(starting.result().model_dump_json() + "\n")
        sys.stdout.flush()
        await told
    starting.cancel()
    await router.stop()


def watch_stdin(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """Stop when stdin ends: the supervisor holds its other end and is gone."""

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(stopping.set)

    threading.Thread(target=wait, name="supervisor-watch", daemon=True).start()


def main() -> None:
    """Entry point of the child process."""
    settings = RouterSettings.model_validate_json(sys.stdin.readline())
    set_up_logging("router", settings.log.level, settings.log.json_lines)
    try:
        asyncio.run(run(settings))
    except StartupError as error:
        log.error("%s", error.message)
        sys.exit(1)


if __name__ == "__main__":
    main()
