"""Runs an ASGI application inside the event loop of this process, under its own signals."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from router.port import bind_shared

# Longer than clients keep idle connections, so that none is closed as it is used again.
KEEP_ALIVE_SECONDS = 75


class QuietServer(uvicorn.Server):
    """Leaves signals to the process that it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class HttpServer:
    """Listens for one application."""

    def __init__(self, app: ASGIApp, grace_seconds: float) -> None:
        """Prepare without listening.

        Args:
            app: What is served.
            grace_seconds: Time that running answers get when it stops; at least one second.
        """
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, math.ceil(grace_seconds)),
        )
        self._server = QuietServer(config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; connections wait from now on.

        Args:
            host: Address to listen on.
            port: 0 for a free one; may be shared with another process of ours.

        Returns:
            The port.

        Raises:
            ConfigError: The address is taken or not ours.
        """
        listener = bind_shared(host, port)
        self._serving = asyncio.create_task(self._server.serve([listener]))
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Take no new connection, let running answers end in the time, close the others."""
        if self._serving is None:
            return
        self._server.should_exit = True
        await self._serving
        # What ran too long is cancelled by now, but has not given back what it holds.
        await asyncio.gather(*self._server.server_state.tasks, return_exceptions=True)
