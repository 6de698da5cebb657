"""The bearer token that callers of the public doors must show, where there is one.

Health and metrics stay open, on both doors alike: probes and Prometheus hold no keys.
"""

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from starlette.types import ASGIApp, Receive, Scope, Send

from common.error_boundary import RpcContext
from common.errors import UnauthenticatedError
from common.rpc_status import status_of
from router.openai_error import error_response

HEADER = "authorization"
SCHEME = "bearer"
OPEN_PATHS = frozenset({"/health", "/metrics"})
OPEN_SERVICE = "/grpc.health.v1.Health/"


class ApiKey:
    """Compares in a time that does not tell how much of a guess is right.

    Args:
        key: The empty one lets everybody in.
        on_refusal: Called for every caller that is not let in.
    """

    def __init__(self, key: str, on_refusal: Callable[[], None] = lambda: None) -> None:
        self._key = key.encode()
        self._on_refusal = on_refusal

    def check(self, authorization: str) -> None:
        """Let a caller in.

        Args:
            authorization: What it shows, as `Bearer KEY`.

        Raises:
            UnauthenticatedError: It shows no key or another.
        """
        if not self._key:
            return
        scheme, _, shown = authorization.partition(" ")
        is_same = hmac.compare_digest(shown.strip().encode(), self._key)
        if scheme.lower() != SCHEME or not is_same:
            self._on_refusal()
            raise UnauthenticatedError("A valid API key is needed, as Authorization: Bearer KEY.")


class KeyInterceptor(grpc.aio.ServerInterceptor):
    """Checks the key of every gRPC call, before a byte of its request is read."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Let the call through, or answer it with a refusal."""
        if handler_call_details.method.startswith(OPEN_SERVICE):
            return await continuation(handler_call_details)
        metadata = dict(handler_call_details.invocation_metadata or ())
        try:
            self._key.check(str(metadata.get(HEADER, "")))
        except UnauthenticatedError as refusal:
            return _refusing(refusal)
        return await continuation(handler_call_details)


class KeyMiddleware:
    """Checks the key of every HTTP request, before a byte of its body is read."""

    def __init__(self, app: ASGIApp, key: ApiKey) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it with a refusal."""
        try:
            if scope["path"] not in OPEN_PATHS:
                self._key.check(_shown(scope))
        except UnauthenticatedError as refusal:
            await error_response(refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _shown(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == HEADER.encode():
            return str(value, "latin-1")
    return ""


def _refusing(refusal: UnauthenticatedError) -> Any:
    async def refuse(_: object, context: RpcContext) -> AsyncIterator[None]:
        await context.abort_with_status(status_of(refusal))
        yield

    # A handler of streams, because it is called before the request has come.
    return grpc.stream_stream_rpc_method_handler(refuse)
