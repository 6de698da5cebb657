"""Reads bodies of HTTP requests, each within its bound and all together within one.

gRPC bounds its messages itself. Here a length that is told is refused before a byte is read, and
one that is not told as soon as too much has come.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from common.errors import (
    CancelledRequestError,
    InvalidRequestError,
    OverloadedError,
    RequestTooLargeError,
)


class BodyReader:
    """Counts the bytes of all bodies that are held; used from the event loop alone.

    Attributes:
        held_bytes: Of all of them.
    """

    def __init__(
        self, max_body_bytes: int, max_held_bytes: int, retry_after_seconds: float
    ) -> None:
        """Hold nothing.

        Args:
            max_body_bytes: Of one body.
            max_held_bytes: Of all bodies at a time; one alone may have more.
            retry_after_seconds: Delay named in refusals.
        """
        self.held_bytes = 0
        self._max_body_bytes = max_body_bytes
        self._max_held_bytes = max_held_bytes
        self._retry_after_seconds = retry_after_seconds

    @asynccontextmanager
    async def body(self, http: Request) -> AsyncIterator[bytes]:
        """Read a body and count it for the length of the context.

        Raises:
            RequestTooLargeError: It is larger than one may be.
            OverloadedError: There are too many at a time.
            InvalidRequestError: Its length is no number.
            CancelledRequestError: The client went away in the middle of it.
        """
        held, body = self._told_length(http), bytearray()
        self._take(held)
        try:
            async for chunk in http.stream():
                body += chunk
                more = len(body) - held
                if more > 0:
                    self._check(len(body))
                    self._take(more)
                    held += more
            yield bytes(body)
        except ClientDisconnect as gone:
            raise CancelledRequestError("The client went away.") from gone
        finally:
            self.held_bytes -= held

    def _told_length(self, http: Request) -> int:
        told = http.headers.get("content-length", "0")
        if not (told.isascii() and told.isdigit()):
            raise InvalidRequestError("The length of the body is no number.", "Content-Length")
        self._check(int(told))
        return int(told)

    def _check(self, length: int) -> None:
        if length > self._max_body_bytes:
            raise RequestTooLargeError(f"A request may have {self._max_body_bytes} bytes.")

    def _take(self, more: int) -> None:
        if self.held_bytes and self.held_bytes + more > self._max_held_bytes:
            raise OverloadedError(
                "Too many request bytes are outstanding; try again later.",
                self._retry_after_seconds,
            )
        self.held_bytes += more
