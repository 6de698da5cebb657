"""The public HTTP door: what OpenAI clients expect, on the same pipeline as the gRPC door.

POST /v1/chat/completions  /v1/completions
GET  /v1/models  /v1/models/NAME  /health  /version  /metrics
"""

import time
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common.errors import (
    DvdError,
    InvalidRequestError,
    ModelNotFoundError,
    UnavailableError,
)
from router.api_key import ApiKey, KeyMiddleware
from router.completion_endpoint import REQUEST_ID_HEADER, CompletionEndpoint, CompletionKind
from router.front_door import FrontDoor
from router.http_body import BodyReader
from router.openai_answer import ChatDialect, JsonObject, TextDialect
from router.openai_error import error_response
from router.openai_request import chat_request, text_request
from router.openai_shapes import ChatRequest, TextRequest

CHAT = CompletionKind(ChatRequest, chat_request, ChatDialect())
TEXT = CompletionKind(TextRequest, text_request, TextDialect())


class HttpApi:
    """Serves one front door.

    Attributes:
        app: The ASGI application.
        bodies: Reads what is sent.
    """

    def __init__(
        self, door: FrontDoor, key: ApiKey, is_ready: Callable[[], bool], version: str
    ) -> None:
        """Build the application.

        Args:
            door: Answers.
            key: That callers must show.
            is_ready: Whether a replica of each role takes work.
            version: Of the program.
        """
        config = door.config
        self.bodies = BodyReader(
            config.max_http_body_bytes, config.max_retained_image_bytes, config.retry_after_seconds
        )
        self._door = door
        self._is_ready = is_ready
        self._version = version
        self._started_at = int(time.time())
        chat = CompletionEndpoint(door, self.bodies, CHAT)
        text = CompletionEndpoint(door, self.bodies, TEXT)
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", chat, methods=["POST"]),
                Route("/v1/completions", text, methods=["POST"]),
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/v1/models/{name:path}", self._model, methods=["GET"]),
                Route("/health", self._health, methods=["GET"]),
                Route("/version", self._tell_version, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
            ],
            middleware=[Middleware(KeyMiddleware, key=key)],
            exception_handlers={
                DvdError: refuse,
                HTTPException: refuse_path,
                Exception: refuse_unexpected,
            },
        )

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._described()]})

    async def _model(self, http: Request) -> Response:
        served = self._door.model.name
        if http.path_params["name"] != served:
            raise ModelNotFoundError(f"The served model is {served}.")
        return JSONResponse(self._described())

    def _described(self) -> JsonObject:
        model = self._door.model
        return {
            "id": model.name,
            "object": "model",
            "created": self._started_at,
            "owned_by": "dvd",
            "max_model_len": model.max_context_tokens,
        }

    async def _health(self, _: Request) -> Response:
        if not self._is_ready():
            raise UnavailableError("No replica of some role takes work.")
        return JSONResponse({"status": "ok"})

    async def _tell_version(self, _: Request) -> Response:
        return JSONResponse({"version": self._version})

    async def _metrics(self, _: Request) -> Response:
        exported = generate_latest(self._door.metrics.registry)
        return Response(exported, media_type=CONTENT_TYPE_LATEST)


async def refuse(http: Request, error: Exception) -> Response:
    """Answer with an error of ours."""
    if not isinstance(error, DvdError):
        raise error
    response = error_response(error)
    request_id = getattr(http.state, "request_id", "")
    if request_id:
        response.headers[REQUEST_ID_HEADER] = request_id
    return response


async def refuse_path(http: Request, error: Exception) -> Response:
    """Answer where there is nothing at this path, or not for this method."""
    if not isinstance(error, HTTPException):
        raise error
    refusal = error_response(InvalidRequestError(f"{http.method} {http.url.path}: {error.detail}."))
    refusal.status_code = error.status_code
    return refusal


async def refuse_unexpected(_: Request, __: Exception) -> Response:
    """Answer with a bare 500; the server logs the rest."""
    return error_response(DvdError())
