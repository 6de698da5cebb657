"""Errors as OpenAI clients expect them."""

import math
import re

from starlette.responses import Response

from common.errors import DvdError, InvalidRequestError, OverloadedError, UnauthenticatedError
from router.openai_answer import encode

JSON_TYPE = "application/json"
TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
# Where a field of the wire has another name in JSON.
NAMES = {"logprobs": "top_logprobs"}


def error_document(error: DvdError) -> bytes:
    """Write an error."""
    status = error.http_status
    kind = "invalid_request_error" if 400 <= status < 500 else "server_error"
    field = error.field if isinstance(error, InvalidRequestError) else ""
    return encode(
        {
            "error": {
                "message": error.message,
                "type": TYPES.get(status, kind),
                "param": param_of(field) or None,
                "code": error.code.name.lower(),
            }
        }
    )


def error_event(error: DvdError) -> bytes:
    """Write an error that ends a stream."""
    return b"data: " + error_document(error) + b"\n\n"


def error_response(error: DvdError) -> Response:
    """Answer with an error alone."""
    headers: dict[str, str] = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
    if isinstance(error, UnauthenticatedError):
        headers["WWW-Authenticate"] = "Bearer"
    return Response(error_document(error), error.http_status, headers, JSON_TYPE)


def param_of(field: str) -> str:
    """Where a field of the wire request stands in the JSON that it was made from."""
    if field.startswith("sampling."):
        name = field.removeprefix("sampling.")
        return NAMES.get(name, name)
    path = re.sub(r"^(messages\[\d+\])\.parts", r"\1.content", field)
    return re.sub(r"(\.content\[\d+\])\.image\b", r"\1.image_url", path)
