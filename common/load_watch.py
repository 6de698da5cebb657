"""Turns a load figure that an engine keeps into a stream of reports.

Shared by both services: a report goes out after every change, at most ten times a second, and
once a second as a heartbeat when nothing changes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from protos.dvd.v1 import replica_pb2

MIN_INTERVAL_SECONDS = 0.1
HEARTBEAT_INTERVALS = 10


async def watch_load(
    read: Callable[[], replica_pb2.LoadReport],
) -> AsyncIterator[replica_pb2.LoadReport]:
    """Yield the load now, after changes, and as a heartbeat, until the caller goes away.

    Args:
        read: Reads the current load; called from the event loop, must not block.
    """
    last = read()
    yield last
    silent_intervals = 0
    while True:
        await asyncio.sleep(MIN_INTERVAL_SECONDS)
        silent_intervals += 1
        now = read()
        if now != last or silent_intervals == HEARTBEAT_INTERVALS:
            last, silent_intervals = now, 0
            yield now
