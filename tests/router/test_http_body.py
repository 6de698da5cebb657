"""Bodies: bounded one by one and together, before memory is taken, and given back."""

import asyncio

import pytest
from starlette.requests import Request

from common.errors import (
    CancelledRequestError,
    InvalidRequestError,
    OverloadedError,
    RequestTooLargeError,
)
from router.http_body import BodyReader
from tests.router.http_door import http_door


class Wire:
    """What a client sends, chunk by chunk."""

    def __init__(self, *chunks: bytes | None, length: str | None = None) -> None:
        self.chunks = list(chunks)
        headers = [] if length is None else [(b"content-length", length.encode("latin-1"))]
        self.http = Request({"type": "http", "headers": headers}, self.receive)

    async def receive(self) -> dict[str, object]:
        chunk = self.chunks.pop(0)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(self.chunks)}


def reader() -> BodyReader:
    return BodyReader(max_body_bytes=10, max_held_bytes=15, retry_after_seconds=2.0)


@pytest.mark.parametrize("length", [None, "6", "10"])
async def test_a_body_is_held_for_the_length_of_the_context(length: str | None) -> None:
    bodies = reader()
    async with bodies.body(Wire(b"abc", b"def", length=length).http) as body:
        assert body == b"abcdef"
        assert bodies.held_bytes == int(length or 6)
    assert bodies.held_bytes == 0


async def test_a_length_that_is_told_is_refused_before_a_byte_is_read() -> None:
    wire = Wire(b"x" * 11, length="11")
    with pytest.raises(RequestTooLargeError):
        async with reader().body(wire.http):
            pass
    assert len(wire.chunks) == 1


async def test_one_that_is_not_told_as_soon_as_it_is_too_long() -> None:
    bodies, wire = reader(), Wire(b"x" * 6, b"x" * 6, b"x")
    with pytest.raises(RequestTooLargeError):
        async with bodies.body(wire.http):
            pass
    assert (len(wire.chunks), bodies.held_bytes) == (1, 0)


@pytest.mark.parametrize("length", ["-1", "ten", "1e3", "²"])
async def test_a_length_that_is_none_is_refused(length: str) -> None:
    wire = Wire(b"")
    wire.http = Request(
        {"type": "http", "headers": [(b"content-length", length.encode("latin-1"))]}
    )
    with pytest.raises(InvalidRequestError):
        async with reader().body(wire.http):
            pass


async def test_all_together_are_bounded_and_room_comes_back() -> None:
    bodies = reader()
    async with bodies.body(Wire(b"x" * 10, length="10").http):
        with pytest.raises(OverloadedError) as caught:
            async with bodies.body(Wire(b"x" * 6).http):
                pass
        assert caught.value.retry_after_seconds == 2.0
        assert bodies.held_bytes == 10
    async with bodies.body(Wire(b"x" * 6).http) as body:
        assert len(body) == 6


async def test_a_client_that_goes_away_gives_its_room_back() -> None:
    bodies = reader()
    with pytest.raises(CancelledRequestError):
        async with bodies.body(Wire(b"x", None, length="9").http):
            pass
    assert bodies.held_bytes == 0


async def test_too_large_is_a_413_and_the_connection_lives_on() -> None:
    async with http_door(max_request_bytes=300) as door:
        large = await door.chat(user="x" * 500)
        assert (large.status_code, large.json()["error"]["code"]) == (413, "invalid_argument")
        assert (await door.chat()).status_code == 200
        assert door.api.bodies.held_bytes == 0


async def test_half_a_request_and_gone() -> None:
    async with http_door() as door:
        address = door.client.base_url.host, door.port
        _, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await door.chat()).status_code == 200
        assert door.api.bodies.held_bytes == 0
