"""Runs an ASGI application inside the event loop of this process, under its own signals."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from router.port import bind_shared

# Longer than clients keep idle connections, so that none is closed as it is used again.
KEEP_ALIVE_SECONDS = 75
MAX_HEAD_BYTES = 1 << 16


class BoundedHeads(HttpToolsProtocol):
    """Cuts off who sends path and headers without end; uvicorn itself would keep all of them."""

    _head_bytes = 0
    _is_in_body = False

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if not self._is_in_body:
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The request has too many headers.")
                return
            self._head_bytes += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Count no more."""
        self._head_bytes, self._is_in_body = 0, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Count again."""
        self._is_in_body = False
        super().on_message_complete()


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
            http=BoundedHeads,
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
