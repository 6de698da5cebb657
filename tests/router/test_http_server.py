"""The HTTP server's own bounds; what it serves is tested with the door."""

import asyncio
import json
import logging
from contextlib import suppress

import pytest

from router.http_server import MAX_HEAD_BYTES
from tests.router.front import DELTA
from tests.router.http_door import HOST, http_door

LONG_HEADER = b"X: " + b"x" * (1 << 14) + b"\r\n"


async def test_headers_without_end_are_cut_off() -> None:
    async with http_door() as door:
        reader, writer = await asyncio.open_connection(HOST, door.port)
        writer.write(b"GET /health HTTP/1.1\r\n" + LONG_HEADER * 64)
        told = b""
        # What is cut off while it still sends may lose the answer, but not the end.
        with suppress(ConnectionError):
            told = await reader.read()
        assert told == b"" or b" 400 " in told
        writer.close()
        assert (await door.client.get("/health")).status_code == 200


async def test_many_requests_of_one_connection_are_bounded_one_by_one() -> None:
    async with http_door() as door:
        headers = {"X-Long": "x" * (MAX_HEAD_BYTES // 2)}
        for _ in range(4):
            assert (await door.chat(headers=headers, user="x" * MAX_HEAD_BYTES)).status_code == 200


async def test_a_stream_that_outlives_the_grace_is_told_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    never = asyncio.Event()
    body = {"messages": [{"role": "user", "content": "Hello?"}], "stream": True}
    with caplog.at_level(logging.ERROR):
        async with http_door(DELTA, never) as door:
            async with door.client.stream("POST", "/v1/chat/completions", json=body) as response:
                lines = response.aiter_lines()
                assert (await anext(lines)).startswith("data: ")
                stopping = asyncio.create_task(door.server.stop())
                told = [line async for line in lines if line]
                await stopping
            last = json.loads(told[-1].removeprefix("data: "))
            assert last["error"]["code"] == "unavailable"
            assert door.pipeline.num_open == 0
    # uvicorn itself says that it cancels them.
    assert [record for record in caplog.records if record.exc_info] == []
