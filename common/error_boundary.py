"""Where every call enters a process: exceptions become gRPC status, work is counted.

Servicers raise `DvdError`, the boundary answers with its status; anything else is logged with its
traceback and answered with a bare INTERNAL.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from common.errors import DvdError
from common.rpc_status import status_of
from common.work_gate import WorkGate

log = logging.getLogger(__name__)

Handler = Callable[..., Any]
RpcContext = grpc.aio.ServicerContext[Any, Any]
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class ErrorBoundary(grpc.aio.ServerInterceptor):
    """Turns exceptions of servicers into gRPC status; no traceback leaves the process."""

    def __init__(self, work: WorkGate) -> None:
        self._work = work

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MethodHandler:
        """Wrap the method's handler."""
        continued = await continuation(handler_call_details)
        handler: Any = continued
        if handler is None or handler_call_details.method.startswith("/grpc."):
            return continued
        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        behaviour = handler.unary_unary or handler.unary_stream or handler.stream_stream
        wrap = _guard_stream if handler.response_streaming else _guard_unary
        name = handler_call_details.method.rpartition("/")[2]
        wrapped: MethodHandler = make(
            wrap(behaviour, self._work, name),
            handler.request_deserializer,
            handler.response_serializer,
        )
        return wrapped


def _guard_unary(behaviour: Handler, work: WorkGate, name: str) -> Handler:
    async def guarded(request: object, context: RpcContext) -> object:
        try:
            with work.doing(name):
                return await behaviour(request, context)
        except Exception as error:
            await _abort(context, error)
            raise

    return guarded


def _guard_stream(behaviour: Handler, work: WorkGate, name: str) -> Handler:
    async def guarded(request: object, context: RpcContext) -> AsyncIterator[object]:
        responses = behaviour(request, context)
        try:
            with work.doing(name):
                async for response in responses:
                    yield response
        except Exception as error:
            await _abort(context, error)
            raise
        finally:
            await responses.aclose()

    return guarded


async def _abort(context: RpcContext, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        return
    if not isinstance(error, DvdError):
        log.error("unexpected error", exc_info=error)
        error = DvdError()
    await context.abort_with_status(status_of(error))
