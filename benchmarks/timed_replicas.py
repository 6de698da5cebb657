"""Replicas that take their time and compute nothing: what stands behind a router under test.

They speak the real protocol, queue in order of arrival, report their load as real ones do, and take
a time for each piece of work that is drawn once. A language replica has room for some answers at a
time, as a batch has; a vision replica works tile after tile.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from common.load_watch import watch_load
from protos.dvd.v1 import (
    inference_pb2,
    language_pb2,
    language_pb2_grpc,
    replica_pb2,
    vision_pb2,
    vision_pb2_grpc,
)

TILE_SECONDS = 0.005
ANSWER_TOKENS = 4


class WorkLog:
    """What a replica has to do and has done, for its reports."""

    def __init__(self, num_slots: int) -> None:
        self._slots = asyncio.Semaphore(num_slots)
        self._running = 0
        self._waiting = 0
        self._outstanding = 0
        self._completed = 0
        self._busy_seconds = 0.0
        self._busy_since = 0.0

    @asynccontextmanager
    async def turn(self, work: int) -> AsyncIterator[None]:
        """Wait for a slot, and hold it for the length of the context."""
        self._outstanding += work
        self._waiting += 1
        try:
            try:
                await self._slots.acquire()
            finally:
                self._waiting -= 1
            self._count(1)
            try:
                yield
                self._completed += work
            finally:
                self._count(-1)
                self._slots.release()
        finally:
            self._outstanding -= work

    def report(self) -> replica_pb2.LoadReport:
        """How busy it is now."""
        self._count(0)
        return replica_pb2.LoadReport(
            running_requests=self._running,
            waiting_requests=self._waiting,
            outstanding_work=self._outstanding,
            completed_work=self._completed,
            busy_seconds=self._busy_seconds,
        )

    def _count(self, change: int) -> None:
        now = time.monotonic()
        if self._running:
            self._busy_seconds += now - self._busy_since
        self._busy_since = now
        self._running += change


class TimedVision(vision_pb2_grpc.VisionServiceServicer):
    """A vision replica.

    Args:
        who: Whom it says it is.
        arrivals: Gets an event set for each request whose picture was pushed.
    """

    def __init__(self, who: replica_pb2.Replica, arrivals: dict[str, asyncio.Event]) -> None:
        self._who = who
        self._arrivals = arrivals
        self._work = WorkLog(num_slots=1)

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Tell who it is."""
        return vision_pb2.VisionServiceGetServerInfoResponse(
            info=replica_pb2.ServerInfo(replica=self._who)
        )

    async def WatchLoad(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        """Report load."""
        async for load in watch_load(self._work.report):
            yield vision_pb2.VisionServiceWatchLoadResponse(load=load)

    async def Encode(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Take as long as the tiles need."""
        async with self._work.turn(request.expected_tiles):
            await asyncio.sleep(TILE_SECONDS * request.expected_tiles)
        return vision_pb2.EncodeResponse(
            image_key=b"key",
            num_tiles=request.expected_tiles,
            scores=[0.0] * request.expected_tiles,
        )

    async def Push(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Let the request's picture have arrived."""
        self._arrivals.setdefault(request.slot.request_id, asyncio.Event()).set()
        return vision_pb2.PushResponse()


class TimedLanguage(language_pb2_grpc.LanguageServiceServicer):
    """A language replica.

    Args:
        who: Whom it says it is.
        arrivals: Has an event set for each request whose picture was pushed.
        num_slots: Answers at a time.
        mean_seconds: Mean time of an answer; drawn from an exponential law.
        seed: Of the draws.
    """

    def __init__(
        self,
        who: replica_pb2.Replica,
        arrivals: dict[str, asyncio.Event],
        num_slots: int,
        mean_seconds: float,
        seed: int,
    ) -> None:
        self._who = who
        self._arrivals = arrivals
        self._work = WorkLog(num_slots)
        self._mean_seconds = mean_seconds
        self._draws = random.Random(seed)  # noqa: S311 - times, no secret

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Tell who it is."""
        return language_pb2.LanguageServiceGetServerInfoResponse(
            info=replica_pb2.ServerInfo(replica=self._who)
        )

    async def WatchLoad(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        """Report load."""
        async for load in watch_load(self._work.report):
            yield language_pb2.LanguageServiceWatchLoadResponse(load=load)

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802
        """Accept at once, wait for the picture and a slot, answer."""
        name, response = request.request_id, language_pb2.LanguageServiceGenerateResponse
        seconds = self._draws.expovariate(1 / self._mean_seconds)
        arrived = self._arrivals.setdefault(name, asyncio.Event())
        try:
            yield response(accepted=language_pb2.GenerateAccepted(needed_images=[0]))
            async with self._work.turn(request.sampling.max_tokens):
                await arrived.wait()
                for token_id in range(ANSWER_TOKENS):
                    await asyncio.sleep(seconds / ANSWER_TOKENS)
                    yield response(delta=inference_pb2.GenerateDelta(token_ids=[token_id]))
        finally:
            self._arrivals.pop(name, None)
        yield response(
            finished=language_pb2.LanguageFinished(
                finish_reason=inference_pb2.FINISH_REASON_LENGTH, completion_tokens=ANSWER_TOKENS
            )
        )
