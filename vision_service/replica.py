"""A whole vision replica in one object: weights, engine, feature cache, server. No Ray."""

import logging
import sys
import time
from collections.abc import Callable

import torch

from common.checkpoint import weight_bytes
from common.config import ImageLimits, VisionServiceConfig
from common.device_graphs import CudaCapture
from common.devices import choose_device, choose_dtype
from common.engine_thread import EngineThread, MakesEngineThread
from common.health_probe import HealthProbe, seconds_of
from common.loading_progress import loading_progress
from common.metric_families import BuildInfo
from common.model_config import load_model_config
from common.model_files import fingerprint
from common.replica_server import ReplicaServer, ReplicaSpec, new_identity, server_info
from common.rpc import MAX_MESSAGE_BYTES
from common.stats_log import StatsLog
from common.tensor_codec import WIRE_DTYPES
from common.types import ReplicaAddress, ReplicaRole
from common.work_gate import WorkGate
from protos.dvd.v1 import vision_pb2_grpc
from vision_service.encoding import Encoder
from vision_service.engine import VisionEngine
from vision_service.feature_cache import FeatureCache
from vision_service.graphed_encode import GraphedEncode
from vision_service.metrics import VisionMetrics
from vision_service.preprocess import Preprocessor
from vision_service.server import SERVICE_NAME, VisionServicer
from vision_service.stats_line import VisionStatsLine
from vision_service.weights import load_vision_model

log = logging.getLogger(__name__)


class VisionReplica:
    """Loads the vision part of a checkpoint and serves it."""

    def __init__(
        self,
        spec: ReplicaSpec,
        config: VisionServiceConfig,
        limits: ImageLimits,
        on_crash: Callable[[], None],
        make_thread: MakesEngineThread = EngineThread,
    ) -> None:
        """Load weights and warm up; serving starts with `start`.

        Args:
            spec: Which replica this is.
            config: Its settings.
            limits: Bounds on each picture.
            on_crash: Called if the engine thread dies.
            make_thread: Makes the engine's thread.

        Raises:
            CheckpointError: The model directory is wrong.
        """
        device = choose_device(spec.device)
        dtype = choose_dtype(config.dtype, device)
        torch.set_num_threads(config.num_threads)
        model_config = load_model_config(spec.model_dir)
        progress = loading_progress(spec.name, time.monotonic, sys.stderr)
        model = load_vision_model(spec.model_dir, model_config, dtype, device, progress)
        held = weight_bytes(model)
        is_graphed = config.cuda_graphs and device.type == "cuda"
        side = model_config.vision.tile_size
        self.engine = VisionEngine(
            model,
            model_config,
            config.max_batch_tiles,
            time.monotonic,
            config.max_batch_wait_seconds,
            graphs=GraphedEncode(model, side, CudaCapture()) if is_graphed else None,
        )
        self.cache = FeatureCache(config.feature_cache_bytes)
        step, wait = self.engine.step, self.engine.seconds_to_wait
        self._thread = make_thread(spec.name, step, on_crash, wait)
        self.engine.on_work = self._thread.wake
        self.encoder = Encoder(
            model_config, config, Preprocessor(model_config, limits), self.engine, self.cache
        )
        identity = new_identity(spec.name, ReplicaRole.VISION, fingerprint(spec.model_dir))
        build = BuildInfo(spec.model_name, identity.fingerprint, str(device))
        metrics = VisionMetrics(self.engine, self.encoder, self.cache, held, build)
        self.registry = metrics.registry
        # A picture travels in one message, with room for the rest of the request.
        max_message_bytes = limits.max_bytes + MAX_MESSAGE_BYTES
        probe = HealthProbe(self.engine.submit_probe, self._thread, seconds_of(self.engine.warm_up))
        work = WorkGate(begins={"Encode"}, goes_on={"Push"})
        stats = StatsLog(
            VisionStatsLine(self.engine, self.encoder), spec.log.stats_interval_seconds
        )
        self._server = ReplicaServer(identity, self.registry, max_message_bytes, probe, work, stats)
        info = server_info(identity, model_config.text_hidden_size, held, WIRE_DTYPES[dtype])
        vision_pb2_grpc.add_VisionServiceServicer_to_server(
            VisionServicer(info, model_config, self.encoder, self.engine, metrics),
            self._server.rpc.server,
        )
        log.info("%s ready: %d MB of weights on %s", spec.name, held >> 20, device)

    async def start(self, host: str) -> ReplicaAddress:
        """Start the engine thread and listen on free ports."""
        self._thread.start()
        return await self._server.start(host, SERVICE_NAME)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new requests, let running ones end within the grace, stop the engine."""
        await self._server.stop(grace_seconds)
        await self.encoder.close()
        self._thread.stop()
