"""Keeps one router running: when it dies it is started again where it was.

A router holds nothing that must survive: clients send again what they hold.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from common.errors import StartupError
from deploy.router_process import RouterProcess
from router.server import RouterReady, RouterSettings

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.2
# Its port may be somebody's for a moment, and replicas may be on their way back.
MAX_TRIES = 6


class RouterKeeper:
    """One router of a deployment.

    Attributes:
        restarts: How often it was started again.
    """

    def __init__(
        self, settings: RouterSettings, timeout_seconds: float, on_failure: Callable[[str], None]
    ) -> None:
        """Prepare without starting.

        Args:
            settings: Of the first start; ports that are free ones then stay the same.
            timeout_seconds: Time for each start.
            on_failure: Told when it cannot be started again.
        """
        self.restarts = 0
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._on_failure = on_failure
        self._process: RouterProcess | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def ready(self) -> RouterReady:
        """Where it listens.

        Raises:
            StartupError: It was never started.
        """
        if self._process is None:
            raise StartupError("The router was not started.")
        return self._process.ready

    async def start(self) -> RouterReady:
        """Start it and keep it running.

        Raises:
            StartupError: It does not start; its own log says why.
        """
        self._process = await RouterProcess.start(self._settings, self._timeout_seconds)
        self._settings = at_same_ports(self._settings, self._process.ready)
        self._keeping = asyncio.create_task(self._keep(self._process))
        return self._process.ready

    async def stop(self) -> None:
        """Let it drain and end."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
        if self._process is not None:
            await self._process.stop()

    async def _keep(self, process: RouterProcess) -> None:
        while True:
            status = await process.wait()
            log.warning("router %s ended with status %d", process.ready.address, status)
            restarted = await self._start_again()
            if restarted is None:
                return self._on_failure("A router cannot be started again; its log is above.")
            self._process = process = restarted
            self.restarts += 1

    async def _start_again(self) -> RouterProcess | None:
        for number in range(MAX_TRIES):
            try:
                return await RouterProcess.start(self._settings, self._timeout_seconds)
            except StartupError as error:
                log.warning("%s", error.message)
                await asyncio.sleep(RETRY_SECONDS * 2**number)
        return None


def at_same_ports(settings: RouterSettings, ready: RouterReady) -> RouterSettings:
    """Settings that make a router listen where another one does."""
    ports = {
        "grpc_port": _port(ready.address),
        "http_port": _port(ready.http_address),
        "metrics_port": _port(ready.metrics_address),
    }
    return settings.model_copy(update={"config": settings.config.model_copy(update=ports)})


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
