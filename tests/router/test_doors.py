"""Both doors together: opened at ports of their own, taken over, and closed in order."""

import asyncio
from typing import Any

import httpx2 as httpx
import pytest

from common.errors import ConfigError, UnavailableError
from deploy.client import InferenceClient
from router.doors import Doors
from router.language_client import AnswerDelta
from router.port import bind_shared
from tests.fakes import until
from tests.router.front import DELTA, FINISHED, STARTED, FakePipeline, front_door
from tests.router.test_validation import text, user

HOST = "127.0.0.1"
BODY = {"messages": [{"role": "user", "content": "Hello?"}]}


def doors(pipeline: FakePipeline, drain_seconds: float = 0.0, **ports: Any) -> Doors:
    front = front_door(pipeline, **{"grpc_port": 0, **ports})
    return Doors(front, "", drain_seconds, lambda: True)


async def by_http(address: str) -> str:
    async with httpx.AsyncClient() as client:
        response = await client.post(f"http://{address}/v1/chat/completions", json=BODY)
    told: str = response.json()["choices"][0]["message"]["content"]
    return told


async def by_grpc(address: str) -> str:
    client = InferenceClient(address)
    try:
        return (await client.answer(user(text()))).text
    finally:
        await client.close()


@pytest.mark.parametrize("door", ["grpc_port", "http_port"])
async def test_a_port_of_somebody_else_is_refused(door: str) -> None:
    with bind_shared(HOST, 0) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"{HOST}:{port}"):
            await doors(FakePipeline(), **{door: port}).open(takes_over=False)


async def test_who_takes_over_answers_at_both_ports() -> None:
    first = doors(FakePipeline())
    await first.open(takes_over=False)
    ports = {
        "grpc_port": int(first.grpc_address.rpartition(":")[2]),
        "http_port": int(first.http_address.rpartition(":")[2]),
    }
    second = doors(FakePipeline((STARTED, AnswerDelta((1,), "new"), FINISHED)), **ports)
    await second.open(takes_over=True)
    await first.close()
    assert await by_grpc(first.grpc_address) == "new"
    assert await by_http(first.http_address) == "new"
    await second.close()


async def test_what_runs_ends_in_the_drain_time_and_nothing_new_begins() -> None:
    go_on = asyncio.Event()
    pipeline = FakePipeline((STARTED, go_on, DELTA, FINISHED))
    opened = doors(pipeline, drain_seconds=30)
    await opened.open(takes_over=False)
    asking = [
        asyncio.create_task(by_grpc(opened.grpc_address)),
        asyncio.create_task(by_http(opened.http_address)),
    ]
    await until(lambda: pipeline.num_open == 2)
    closing = asyncio.create_task(opened.close())

    async def is_refused() -> bool:
        try:
            async with asyncio.timeout(5), httpx.AsyncClient() as client:
                await client.get(f"http://{opened.http_address}/health")
        except httpx.TransportError:
            return True
        return False

    while not await is_refused():
        pass
    with pytest.raises(UnavailableError):
        await by_grpc(opened.grpc_address)
    go_on.set()
    assert await asyncio.gather(*asking) == ["ab", "ab"]
    await closing
