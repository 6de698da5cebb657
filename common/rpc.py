"""gRPC servers and channels as every process here sets them up.

A server comes with health, reflection, one error boundary (`common/error_boundary.py`), and an end
that lets what it has begun end.
"""

import asyncio
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Sequence,
)
from contextlib import contextmanager, suppress
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from common import error_boundary
from common.error_boundary import ErrorBoundary
from common.errors import ConfigError, DeadlineExpiredError, UnreachableError
from common.rpc_status import error_of
from common.work_gate import WorkGate

T = TypeVar("T")
RpcContext = error_boundary.RpcContext
HealthCheck = Callable[[], Awaitable[bool]]
ChannelOptions = Sequence[tuple[str, int]]

MAX_MESSAGE_BYTES = 8 << 20
# A half-open link is noticed after both: the peer is gone, and nothing says so.
KEEPALIVE_MS = 10_000
KEEPALIVE_TIMEOUT_MS = 5_000
FIRST_RECONNECT_MS, LONGEST_RECONNECT_MS = 100, 1_000


def message_options(max_message_bytes: int) -> ChannelOptions:
    """Channel and server options: message bound, and keepalive that both sides accept."""
    return (
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
        ("grpc.http2.max_pings_without_data", 0),
        # A starved host reads pings late and close together; that must not cut its streams.
        ("grpc.http2.max_ping_strikes", 0),
    )


def open_channel(address: str, max_message_bytes: int = MAX_MESSAGE_BYTES) -> grpc.aio.Channel:
    """Open a channel to a peer; reuse it for every call."""
    options = (
        *message_options(max_message_bytes),
        # Replicas of one process tree must not share a connection pool that outlives a restart.
        ("grpc.use_local_subchannel_pool", 1),
        # gRPC would wait for up to two minutes before it looks whether a peer is back.
        ("grpc.initial_reconnect_backoff_ms", FIRST_RECONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", LONGEST_RECONNECT_MS),
    )
    return grpc.aio.insecure_channel(address, options=options)


def remaining_seconds(context: RpcContext) -> float | None:
    """Time left for a call; None without a deadline.

    Raises:
        DeadlineExpiredError: There is none left.
    """
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        raise DeadlineExpiredError("The deadline passed.")
    return remaining


@contextmanager
def peer_errors() -> Iterator[None]:
    """Raise the error that the peer raised.

    A channel that was closed, before a call or under it, is a lost peer: grpc would pretend that
    the caller was cancelled, and a cancelled caller answers nobody.
    """
    try:
        yield
    except grpc.aio.AioRpcError as failure:
        raise error_of(failure) from failure
    except grpc.aio.UsageError as closed:
        raise UnreachableError("A replica was taken out of service.") from closed
    except asyncio.CancelledError as closed:
        caller = asyncio.current_task()
        if caller is None or caller.cancelling():
            raise
        raise UnreachableError("A replica was taken out of service.") from closed


async def call(awaitable: Awaitable[T]) -> T:
    """Await one call to a peer, raising the error that the peer raised."""
    with peer_errors():
        return await awaitable


async def each(stream: AsyncIterable[T]) -> AsyncIterator[T]:
    """Iterate over a peer's answers, raising the error that the peer raised."""
    with peer_errors():
        async for response in stream:
            yield response


class CheckedHealth(HealthServicer):  # type: ignore[misc]  # it comes without types
    """gRPC health that asks whether the process can do its work before it says so."""

    def __init__(self, is_healthy: HealthCheck | None) -> None:
        super().__init__()
        self._is_healthy = is_healthy

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: RpcContext
    ) -> health_pb2.HealthCheckResponse:
        """Tell whether a service is served, as of now."""
        response: health_pb2.HealthCheckResponse = await super().Check(request, context)
        serving = health_pb2.HealthCheckResponse.SERVING
        if response.status == serving and self._is_healthy and not await self._is_healthy():
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)
        return response


class RpcServer:
    """A gRPC server with health, reflection and the error boundary."""

    def __init__(
        self,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        is_healthy: HealthCheck | None = None,
        work: WorkGate | None = None,
        shares_port: bool = False,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        """Prepare without listening.

        Args:
            max_message_bytes: Largest message.
            is_healthy: Asked at every health check while serving; None for always healthy.
            work: Which calls are work; None for none.
            shares_port: Whether another process of ours may listen at the same port, as where one
                takes over from another.
            interceptors: Asked before every call, within the error boundary.
        """
        self._work = work or WorkGate()
        self.server = grpc.aio.server(
            interceptors=[ErrorBoundary(self._work), *interceptors],
            options=(*message_options(max_message_bytes), ("grpc.so_reuseport", int(shares_port))),
        )
        self._health = CheckedHealth(is_healthy)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self._services = ["", health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]

    async def start(self, address: str, service_names: Sequence[str]) -> int:
        """Listen, and report the named services as serving.

        Args:
            address: `host:port`; port 0 takes a free one.
            service_names: Full names of the services that were added.

        Returns:
            The port.

        Raises:
            ConfigError: The address is taken or not ours.
        """
        self._services += service_names
        reflection.enable_server_reflection(
            [*self._services[1:], reflection.SERVICE_NAME], self.server
        )
        try:
            port = self.server.add_insecure_port(address)
        except RuntimeError as cause:
            raise ConfigError(f"Cannot listen on {address}; is the port in use?") from cause
        await self.server.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        return port

    async def stop(self, grace_seconds: float, sends_away: bool = False) -> None:
        """Report not serving, refuse new work, let what is begun end in the time, then close.

        A second stop finds nothing to do.

        Args:
            grace_seconds: Time for what is begun.
            sends_away: Whether clients are told at once to connect anew, so that whoever listens
                now gets what is new. Otherwise calls that belong to what is begun are still taken.
        """
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        if sends_away:
            # Never two stops at a time: where one ends the server, the other's would crash.
            await self.server.stop(grace_seconds)
            return
        self._work.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._work.wait_until_done()
        await self.server.stop(0)

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for service in self._services:
            await self._health.set(service, status)
