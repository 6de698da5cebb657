"""Who shows no key is answered nowhere but at health and metrics, at both doors."""

from collections.abc import AsyncIterator

import httpx2 as httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from common.errors import UnauthenticatedError
from common.rpc import call, open_channel
from deploy.client import InferenceClient
from router.api_key import ApiKey
from router.doors import Doors
from tests.router.front import FakePipeline, front_door
from tests.router.test_validation import text, user

KEY = "secret-9"


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


@pytest.fixture
async def doors(pipeline: FakePipeline) -> AsyncIterator[Doors]:
    opened = Doors(front_door(pipeline, grpc_port=0), KEY, 0.0, lambda: True)
    await opened.open(takes_over=False)
    yield opened
    await opened.close()


@pytest.mark.parametrize("shown", [f"Bearer {KEY}", f"bearer  {KEY} "])
def test_the_key_lets_in(shown: str) -> None:
    ApiKey(KEY).check(shown)


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer ", KEY, f"Basic {KEY}", f"Bearer {KEY}x", "Bearer sécret"]
)
def test_anything_else_does_not(shown: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        ApiKey(KEY).check(shown)
    assert KEY not in caught.value.message


def test_without_a_key_everybody_is_let_in() -> None:
    ApiKey("").check("")
    ApiKey("").check("Bearer whatever")


@pytest.mark.parametrize("shown", ["", "wrong"])
async def test_grpc_refuses_before_it_looks(
    doors: Doors, pipeline: FakePipeline, shown: str
) -> None:
    client = InferenceClient(doors.grpc_address, api_key=shown)
    with pytest.raises(UnauthenticatedError):
        await client.model()
    with pytest.raises(UnauthenticatedError):
        await client.answer(user(text()))
    await client.close()
    assert pipeline.checked == []


async def test_grpc_lets_in_who_shows_the_key(doors: Doors) -> None:
    client = InferenceClient(doors.grpc_address, api_key=KEY)
    assert (await client.model()).model == "tiny"
    assert (await client.answer(user(text()))).text == "ab"
    await client.close()


async def test_grpc_health_is_open_and_reflection_is_not(doors: Doors) -> None:
    async with open_channel(doors.grpc_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        told = await health.Check(health_pb2.HealthCheckRequest())
        assert told.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(UnauthenticatedError):
            await call(anext(aiter(reflection.ServerReflectionInfo(iter([request])))))


async def test_http_refuses_by_401_and_leaves_health_and_metrics_open(
    doors: Doors, pipeline: FakePipeline
) -> None:
    body = {"messages": [{"role": "user", "content": "Hello?"}]}
    async with httpx.AsyncClient(base_url=f"http://{doors.http_address}") as client:
        refused = await client.post("/v1/chat/completions", json=body)
        assert pipeline.checked == []
        right = {"Authorization": f"Bearer {KEY}"}
        answered = await client.post("/v1/chat/completions", json=body, headers=right)
        paths = ("/v1/models", "/version", "/nowhere", "/health", "/metrics")
        statuses = [(await client.get(path)).status_code for path in paths]
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.json()["error"]["type"] == "authentication_error"
    assert answered.status_code == 200
    assert statuses == [401, 401, 401, 200, 200]


async def test_calls_without_the_key_are_counted_at_both_doors(pipeline: FakePipeline) -> None:
    front = front_door(pipeline, grpc_port=0)
    opened = Doors(front, KEY, 0.0, lambda: True)
    await opened.open(takes_over=False)
    client = InferenceClient(opened.grpc_address)
    with pytest.raises(UnauthenticatedError):
        await client.model()
    await client.close()
    async with httpx.AsyncClient(base_url=f"http://{opened.http_address}") as http:
        await http.get("/v1/models")
        await http.get("/health")
    await opened.close()
    labels = {"status": "UNAUTHENTICATED", "finish_reason": ""}
    assert front.metrics.registry.get_sample_value("dvd_requests_total", labels) == 2
