"""A whole language replica in one object: weights, engine, inbox, server. No Ray."""

import logging
import time
from collections.abc import Callable

import torch

from common.config import LanguageServiceConfig
from common.engine_thread import EngineThread, MakesEngineThread
from common.health_probe import HealthProbe, seconds_of
from common.metric_families import BuildInfo
from common.model_config import ModelConfig
from common.model_files import fingerprint
from common.replica_server import ReplicaServer, ReplicaSpec, new_identity, server_info
from common.rpc import MAX_MESSAGE_BYTES
from common.stats_log import StatsLog
from common.tensor_codec import WIRE_DTYPES
from common.types import ReplicaAddress, ReplicaRole
from common.work_gate import WorkGate
from language_service.answering import AnswerDefaults, Answerer
from language_service.embedding_manifest import EmbeddingFormat
from language_service.engine import LanguageEngine
from language_service.graphed_decode import choose_graphs
from language_service.inbox import Inbox
from language_service.leading_runner import LeadingRunner
from language_service.metrics import LanguageMetrics
from language_service.model_runner import ModelRunner
from language_service.probe import LanguageProbe
from language_service.rank_crew import RankCrew
from language_service.rank_group import RankGroup
from language_service.rank_model import RankModel, load_rank_model, make_cache
from language_service.receiver import EmbeddingReceiver
from language_service.server import SERVICE_NAME, LanguageServicer, add_language_service
from language_service.sharding import WHOLE_MODEL
from language_service.stats_line import LanguageStatsLine
from language_service.tokenizer import ORIGINAL_SYSTEM_MESSAGE, ChatTokenizer

log = logging.getLogger(__name__)


class LanguageReplica:
    """Loads the language part of a checkpoint and serves it."""

    def __init__(
        self,
        spec: ReplicaSpec,
        config: LanguageServiceConfig,
        on_crash: Callable[[], None],
        crew: RankCrew | None = None,
        make_thread: MakesEngineThread = EngineThread,
    ) -> None:
        """Load weights and warm up; serving starts with `start`.

        Args:
            spec: Which replica this is.
            config: Its settings.
            on_crash: Called if the engine thread dies.
            crew: The other ranks; None where this process holds the whole model.
            make_thread: Makes the engine's thread.

        Raises:
            CheckpointError: The model directory is wrong.
            ConfigError: The model cannot be cut for so many ranks.
            StartupError: The device has no room for the longest request.
        """
        self._crew = crew
        loaded = load_rank_model(spec, config, crew.first_rank if crew else WHOLE_MODEL)
        model, device, held = loaded.model, loaded.device, loaded.num_bytes
        group = crew.gather(device) if crew else None
        system = ORIGINAL_SYSTEM_MESSAGE if config.system_message == "original" else None
        tokenizer = ChatTokenizer(spec.model_dir, system)
        identity = new_identity(spec.name, ReplicaRole.LANGUAGE, fingerprint(spec.model_dir))
        salt = f"{identity.fingerprint} {model.dtype}".encode()
        runner = _runner(loaded, config, salt, group)
        self.engine = LanguageEngine(runner, tokenizer, loaded.limits, time.monotonic)
        accepted = _embedding_format(loaded.config, model.dtype, identity.fingerprint)
        self.inbox = Inbox(config.inbox_bytes, accepted, is_pinned=device.type == "cuda")
        defaults = AnswerDefaults(config.default_max_tokens, tokenizer.sampling_defaults)
        self._thread = make_thread(spec.name, self.engine.step, on_crash)
        self.engine.on_work = self._thread.wake
        info = server_info(identity, loaded.config.text_hidden_size, held, WIRE_DTYPES[model.dtype])
        self.answerer = Answerer(tokenizer, self.inbox, self.engine, defaults)
        build = BuildInfo(spec.model_name, identity.fingerprint, str(device))
        metrics = LanguageMetrics(self.engine, self.answerer, self.inbox, held, build)
        self.registry = metrics.registry
        probe = HealthProbe(
            LanguageProbe(self.engine).submit, self._thread, seconds_of(self.engine.warm_up)
        )
        work = WorkGate(begins={"Generate"})
        stats = StatsLog(
            LanguageStatsLine(self.engine, self.inbox), spec.log.stats_interval_seconds
        )
        self._server = ReplicaServer(identity, self.registry, MAX_MESSAGE_BYTES, probe, work, stats)
        receiver = EmbeddingReceiver(self.inbox, config.credit_bytes, config.sender_silence_seconds)
        add_language_service(
            LanguageServicer(info, self.answerer, self.inbox, receiver, self.engine, metrics),
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
        self._thread.stop()
        if self._crew is not None:
            self._crew.dismiss()


def _runner(
    loaded: RankModel, config: LanguageServiceConfig, salt: bytes, group: RankGroup | None
) -> ModelRunner:
    model, clock = loaded.model, time.monotonic
    cache = make_cache(loaded, config, salt, group)
    if group is not None:
        return LeadingRunner(model, cache, clock, group)
    graphs = choose_graphs(model, cache, loaded.limits, config.cuda_graphs)
    return ModelRunner(model, cache, clock, graphs)


def _embedding_format(
    model_config: ModelConfig, dtype: torch.dtype, model_fingerprint: str
) -> EmbeddingFormat:
    full = model_config.full_tokens_per_tile
    flash = model_config.thresholds is not None
    return EmbeddingFormat(
        model_fingerprint=model_fingerprint,
        dtype=dtype,
        hidden_size=model_config.text_hidden_size,
        full_tokens=full,
        compressed_tokens=model_config.compressed_tokens_per_tile if flash else full,
    )
