"""Calls to a vision replica: wire types in and out, and a client that was closed."""

from dataclasses import replace
from typing import Any

import pytest

from common.errors import UnavailableError
from common.tiling import TileGrid
from common.types import ReplicaAddress, ReplicaRole
from protos.dvd.v1 import embedding_pb2, replica_pb2, vision_pb2, vision_pb2_grpc
from router.requests import ValidImage
from router.vision_client import Destination, Encoding, PlannedPush, PushReceipt, VisionClient
from tests.loopback import serving
from tests.router.fakes import OPTIONS

IMAGE = ValidImage(b"file", b"key", TileGrid(2, 1, True), "messages[0].parts[0]", OPTIONS)
PLACE = Destination("host:1", embedding_pb2.D_TYPE_FLOAT32, "r1", image_index=3, attempt=1)
ADD = vision_pb2_grpc.add_VisionServiceServicer_to_server


class Vision(vision_pb2_grpc.VisionServiceServicer):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        info = replica_pb2.ServerInfo(hidden_size=24)
        return vision_pb2.VisionServiceGetServerInfoResponse(info=info)

    async def WatchLoad(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        for work in (1, 2):
            load = replica_pb2.LoadReport(outstanding_work=work)
            yield vision_pb2.VisionServiceWatchLoadResponse(load=load)

    async def Encode(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += [request, context.time_remaining()]
        return vision_pb2.EncodeResponse(
            scores=[0.25, 0.5, 1.0],
            queue_seconds=1,
            preprocess_seconds=2,
            vit_seconds=3,
            gate_seconds=4,
        )

    async def Push(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += [request, context.time_remaining()]
        return vision_pb2.PushResponse(num_bytes=5, project_seconds=6, transfer_seconds=7)


def client_of(address: str) -> VisionClient:
    return VisionClient(ReplicaAddress("v", ReplicaRole.VISION, "i", address, "", "f"), 1 << 20)


async def test_it_encodes() -> None:
    vision = Vision()
    async with serving(ADD, vision) as loopback:
        client = client_of(loopback.address)
        encoding = await client.encode("r1", IMAGE, None, 20)
        await client.close()
    assert encoding == Encoding((0.25, 0.5, 1.0), 1, 2, 3, 4)
    request, seconds = vision.asked
    assert request == vision_pb2.EncodeRequest(
        request_id="r1", image_data=b"file", expected_tiles=3, max_tiles=12
    )
    assert seconds == pytest.approx(20, abs=5)


async def test_options_and_what_will_be_pushed_go_along() -> None:
    vision = Vision()
    turned = replace(IMAGE, options=replace(OPTIONS, apply_orientation=True))
    planned = PlannedPush((True, False, True), embedding_pb2.D_TYPE_BFLOAT16)
    async with serving(ADD, vision) as loopback:
        client = client_of(loopback.address)
        await client.encode("r1", turned, planned, 20)
        await client.close()
    request, _ = vision.asked
    assert request.apply_orientation
    assert request.planned_push == vision_pb2.PlannedPush(
        compressed=[True, False, True], dtype=embedding_pb2.D_TYPE_BFLOAT16
    )


async def test_it_pushes() -> None:
    vision = Vision()
    async with serving(ADD, vision) as loopback:
        client = client_of(loopback.address)
        receipt = await client.push(b"key", (True, False, False), PLACE, 20)
        await client.close()
    assert receipt == PushReceipt(6, 7)
    request, seconds = vision.asked
    assert request == vision_pb2.PushRequest(
        image_key=b"key",
        compressed=[True, False, False],
        slot=embedding_pb2.EmbeddingSlot(request_id="r1", image_index=3, attempt=1),
        destination="host:1",
        dtype=embedding_pb2.D_TYPE_FLOAT32,
    )
    assert seconds == pytest.approx(20, abs=5)


async def test_it_tells_what_is_served_and_how_busy() -> None:
    async with serving(ADD, Vision()) as loopback:
        client = client_of(loopback.address)
        assert (await client.server_info(10)).hidden_size == 24
        assert [load.outstanding_work async for load in client.watch_load()] == [1, 2]
        await client.close()


async def test_a_push_through_a_closed_client_may_be_tried_elsewhere() -> None:
    async with serving(ADD, Vision()) as loopback:
        client = client_of(loopback.address)
        await client.close()
        with pytest.raises(UnavailableError):
            await client.push(b"key", (True,), PLACE, 20)


async def test_encoding_through_a_closed_client_may_be_tried_elsewhere() -> None:
    async with serving(ADD, Vision()) as loopback:
        client = client_of(loopback.address)
        await client.close()
        with pytest.raises(UnavailableError):
            await client.encode("r1", IMAGE, None, 20)
