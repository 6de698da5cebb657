"""A router as a plain child process of the supervisor: no Ray, no torch, in or out."""

import asyncio
import sys

from common.errors import StartupError
from router.server import RouterReady, RouterSettings


class RouterProcess:
    """One router child."""

    def __init__(self, process: asyncio.subprocess.Process, ready: RouterReady) -> None:
        self.ready = ready
        self._process = process

    @classmethod
    async def start(cls, settings: RouterSettings, timeout_seconds: float) -> "RouterProcess":
        """Start a router and wait until it listens.

        Raises:
            StartupError: It ended instead, and its own log says why, or it took too long.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "router.server",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C in the terminal is for the supervisor, which stops its children in order.
            start_new_session=True,
        )
        if process.stdin is None or process.stdout is None:
            raise StartupError("The router has no pipes.")
        # stdin stays open: its end tells the router that the supervisor is gone.
        process.stdin.write(settings.model_dump_json().encode() + b"\n")
        await process.stdin.drain()
        try:
            async with asyncio.timeout(timeout_seconds):
                line = await process.stdout.readline()
        except asyncio.CancelledError:
            process.kill()
            raise
        except TimeoutError as late:
            process.kill()
            await process.wait()
            raise StartupError(
                f"The router was not ready after {timeout_seconds:g} seconds."
            ) from late
        if not line:
            await process.wait()
            raise StartupError("The router did not start; its log is above.")
        return cls(process, RouterReady.model_validate_json(line))

    async def wait(self) -> int:
        """Wait for the router to end; its exit status."""
        return await self._process.wait()

    async def kill(self) -> None:
        """End the router without a warning."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """Let the router drain and end."""
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
