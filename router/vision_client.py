"""Calls to one vision replica. Wire types end here."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from common.health_client import is_serving
from common.rpc import call, each, open_channel, peer_errors
from common.types import ReplicaAddress
from protos.dvd.v1 import embedding_pb2, replica_pb2, vision_pb2, vision_pb2_grpc
from router.requests import ValidImage


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoded picture as the router sees it.

    Attributes:
        scores: Probability that a tile may be compressed; empty without a gate.
        queue_seconds: Waiting for a decoder and for the engine.
        preprocess_seconds: Decoding and tiling.
        vit_seconds: Vision transformer.
        gate_seconds: Resolution gate.
    """

    scores: tuple[float, ...]
    queue_seconds: float
    preprocess_seconds: float
    vit_seconds: float
    gate_seconds: float


@dataclass(frozen=True, slots=True)
class Destination:
    """A place in a language replica's inbox.

    Attributes:
        address: `host:port` of the replica.
        dtype: Wire element type that it wants.
        request_id: Request that waits there.
        image_index: Position among the request's pictures.
        attempt: Count of earlier tries.
    """

    address: str
    dtype: embedding_pb2.DType
    request_id: str
    image_index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class PlannedPush:
    """An embedding that will be asked for.

    Attributes:
        compressed: For each tile whether it is compressed.
        dtype: Wire element type.
    """

    compressed: tuple[bool, ...]
    dtype: embedding_pb2.DType


@dataclass(frozen=True, slots=True)
class PushReceipt:
    """What a push took.

    Attributes:
        project_seconds: Projection.
        transfer_seconds: From the manifest to the commit.
    """

    project_seconds: float
    transfer_seconds: float


class VisionClient:
    """One channel to one vision replica."""

    def __init__(self, address: ReplicaAddress, max_message_bytes: int) -> None:
        self._channel = open_channel(address.address, max_message_bytes)
        self._stub = vision_pb2_grpc.VisionServiceStub(self._channel)

    async def server_info(self, timeout_seconds: float) -> replica_pb2.ServerInfo:
        """Ask which model is served."""
        request = vision_pb2.VisionServiceGetServerInfoRequest()
        return (await call(self._stub.GetServerInfo(request, timeout=timeout_seconds))).info

    async def is_serving(self, timeout_seconds: float) -> bool:
        """Ask whether the replica can do its work."""
        return await is_serving(self._channel, timeout_seconds)

    async def watch_load(self) -> AsyncIterator[replica_pb2.LoadReport]:
        """Follow the replica's load until it goes away."""
        request = vision_pb2.VisionServiceWatchLoadRequest()
        async for response in each(self._stub.WatchLoad(request)):
            yield response.load

    async def encode(
        self,
        request_id: str,
        image: ValidImage,
        planned: PlannedPush | None,
        timeout_seconds: float,
    ) -> Encoding:
        """Encode one picture.

        Args:
            request_id: Whose picture.
            image: The picture.
            planned: What will be pushed of it, where that is decided; kept, it saves encoding.
            timeout_seconds: Time left.

        Raises:
            DvdError: What the replica answered.
        """
        request = _encode_request(request_id, image, planned)
        with peer_errors():
            response = await self._stub.Encode(request, timeout=timeout_seconds)
        return Encoding(
            scores=tuple(response.scores),
            queue_seconds=response.queue_seconds,
            preprocess_seconds=response.preprocess_seconds,
            vit_seconds=response.vit_seconds,
            gate_seconds=response.gate_seconds,
        )

    async def push(
        self,
        image_key: bytes,
        compressed: tuple[bool, ...],
        destination: Destination,
        timeout_seconds: float,
    ) -> PushReceipt:
        """Send one encoded picture to a language replica.

        Raises:
            DvdError: What either replica answered.
        """
        request = vision_pb2.PushRequest(
            image_key=image_key,
            compressed=compressed,
            slot=embedding_pb2.EmbeddingSlot(
                request_id=destination.request_id,
                image_index=destination.image_index,
                attempt=destination.attempt,
            ),
            destination=destination.address,
            dtype=destination.dtype,
        )
        with peer_errors():
            response = await self._stub.Push(request, timeout=timeout_seconds)
        return PushReceipt(response.project_seconds, response.transfer_seconds)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def _encode_request(
    request_id: str, image: ValidImage, planned: PlannedPush | None
) -> vision_pb2.EncodeRequest:
    push = None
    if planned is not None:
        push = vision_pb2.PlannedPush(compressed=planned.compressed, dtype=planned.dtype)
    return vision_pb2.EncodeRequest(
        request_id=request_id,
        image_data=image.data,
        expected_tiles=image.grid.num_tiles,
        max_tiles=image.options.tiling.max_tiles,
        apply_orientation=image.options.apply_orientation,
        planned_push=push,
    )
