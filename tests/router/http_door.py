"""An HTTP door that listens on loopback, with a pipeline that was handed in."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx

from router.api_key import ApiKey
from router.front_door import FrontDoor
from router.http_api import HttpApi
from router.http_server import HttpServer
from tests.router.front import FakePipeline, front_door

HOST = "127.0.0.1"


@dataclass(frozen=True)
class HttpDoor:
    """Every part, within reach of a test."""

    client: httpx.AsyncClient
    pipeline: FakePipeline
    front: FrontDoor
    api: HttpApi
    server: HttpServer
    port: int

    async def chat(self, **fields: Any) -> httpx.Response:
        """Ask."""
        headers = fields.pop("headers", {})
        body = {"messages": [{"role": "user", "content": "Hello?"}], **fields}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    def is_listening(self) -> bool:
        """Whether somebody listens at its port."""
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    def num_requests(self, status: str) -> float:
        """Requests that ended so, without an answer."""
        labels = {"status": status, "finish_reason": ""}
        registry = self.front.metrics.registry
        return registry.get_sample_value("dvd_requests_total", labels) or 0.0


@asynccontextmanager
async def http_door(
    *script: Any, key: str = "", is_ready: bool = True, **settings: Any
) -> AsyncIterator[HttpDoor]:
    """Listen for the length of the context."""
    pipeline = FakePipeline(script) if script else FakePipeline()
    front = front_door(pipeline, **settings)
    api = HttpApi(front, ApiKey(key), lambda: is_ready, "1.2.3")
    server = HttpServer(api.app, 1.0)
    port = await server.start(HOST, 0)
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}") as client:
        yield HttpDoor(client, pipeline, front, api, server, port)
    await server.stop()
