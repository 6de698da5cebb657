"""The gRPC face of a vision replica: translates, and leaves every decision to others."""

from collections.abc import AsyncIterator

from common.errors import InvalidRequestError
from common.image_options import ImageOptions
from common.load_watch import watch_load
from common.model_config import ModelConfig
from common.rpc import RpcContext, remaining_seconds
from common.tensor_codec import torch_dtype
from common.tiling import MAX_TILES
from protos.dvd.v1 import replica_pb2, vision_pb2, vision_pb2_grpc
from vision_service.encoding import Encoder
from vision_service.engine import VisionEngine
from vision_service.metrics import VisionMetrics
from vision_service.requests import EncodeTask, PlannedPush, PushTask

SERVICE_NAME = vision_pb2.DESCRIPTOR.services_by_name["VisionService"].full_name


class VisionServicer(vision_pb2_grpc.VisionServiceServicer):
    """Serves one engine and one feature cache."""

    def __init__(
        self,
        info: replica_pb2.ServerInfo,
        config: ModelConfig,
        encoder: Encoder,
        engine: VisionEngine,
        metrics: VisionMetrics,
    ) -> None:
        self._info = info
        self._full_tokens = config.full_tokens_per_tile
        self._tiling = config.tiling
        self._encoder = encoder
        self._engine = engine
        self._metrics = metrics

    async def GetServerInfo(
        self,
        request: vision_pb2.VisionServiceGetServerInfoRequest,
        context: RpcContext,
    ) -> vision_pb2.VisionServiceGetServerInfoResponse:
        """Tell which model is served."""
        return vision_pb2.VisionServiceGetServerInfoResponse(info=self._info)

    async def Encode(
        self, request: vision_pb2.EncodeRequest, context: RpcContext
    ) -> vision_pb2.EncodeResponse:
        """Encode one picture and keep its features."""
        remaining_seconds(context)
        result = await self._encoder.encode(self._encode_task(request))
        return vision_pb2.EncodeResponse(
            image_key=result.image.image_key,
            num_tiles=result.image.grid.num_tiles,
            scores=result.image.scores,
            queue_seconds=result.queue_seconds,
            preprocess_seconds=result.preprocess_seconds,
            vit_seconds=result.vit_seconds,
            gate_seconds=result.gate_seconds,
        )

    async def Push(
        self, request: vision_pb2.PushRequest, context: RpcContext
    ) -> vision_pb2.PushResponse:
        """Project one kept picture and stream it to its destination."""
        task = PushTask(
            image_key=request.image_key,
            compressed=tuple(request.compressed),
            slot=request.slot,
            destination=request.destination,
            dtype=torch_dtype(request.dtype),
            timeout_seconds=remaining_seconds(context),
        )
        result = await self._encoder.push(task, self._info.replica.fingerprint)
        self._metrics.tokens.labels("before").inc(len(task.compressed) * self._full_tokens)
        self._metrics.tokens.labels("after").inc(sum(result.tile_tokens))
        self._metrics.embedding_bytes.labels("sent").inc(result.num_bytes)
        return vision_pb2.PushResponse(
            num_bytes=result.num_bytes,
            project_seconds=result.project_seconds,
            transfer_seconds=result.transfer_seconds,
        )

    async def WatchLoad(
        self,
        request: vision_pb2.VisionServiceWatchLoadRequest,
        context: RpcContext,
    ) -> AsyncIterator[vision_pb2.VisionServiceWatchLoadResponse]:
        """Report load until the caller goes away."""
        async for load in watch_load(self._load):
            yield vision_pb2.VisionServiceWatchLoadResponse(load=load)

    def _encode_task(self, request: vision_pb2.EncodeRequest) -> EncodeTask:
        if request.max_tiles > MAX_TILES:
            raise InvalidRequestError(f"max_tiles must be at most {MAX_TILES}.", "max_tiles")
        tiling = self._tiling.at_most(request.max_tiles or self._tiling.max_tiles)
        planned = None
        if request.HasField("planned_push"):
            push = request.planned_push
            planned = PlannedPush(tuple(push.compressed), torch_dtype(push.dtype))
        return EncodeTask(
            request.image_data,
            request.expected_tiles,
            ImageOptions(tiling, request.apply_orientation),
            planned,
        )

    def _load(self) -> replica_pb2.LoadReport:
        return replica_pb2.LoadReport(
            running_requests=self._engine.running_images,
            waiting_requests=self._engine.waiting_images,
            outstanding_work=self._engine.outstanding_tiles + self._engine.coming_tiles,
            completed_work=self._engine.stats.num_tiles,
            busy_seconds=self._engine.stats.busy_seconds,
        )
