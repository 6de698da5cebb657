"""What is compared: coupled and decoupled servers of equal hardware, with and without ViR.

Two threads compute in every arm, and room for KV, embeddings and features is the same in all:

    coupled, 1 x 2     one process, whose engines take turns, with two threads for each product
    coupled, 2 x 1     two such processes of one thread, requests balanced over both
    DvD                a vision replica and a language replica of one thread each

A process of one thread stays on a core of its own; router and client run where there is room. The
better coupled one of a cell is its baseline.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.deployment import Server
from benchmarks.replica_process import ReplicaProcessSettings
from common.config import (
    HealthConfig,
    LanguageServiceConfig,
    ResolutionConfig,
    RouterConfig,
    VisionServiceConfig,
)
from common.types import ReplicaRole

NUM_THREADS = 2
KV_TOKENS = 32_768
INBOX_BYTES = 512 << 20
FEATURE_CACHE_BYTES = 256 << 20
# A tile and the answers of all: shorter steps keep tokens even.
MAX_BATCH_TOKENS = 48
BOTH = (ReplicaRole.VISION, ReplicaRole.LANGUAGE)


class Layout(StrEnum):
    """How engines are put on threads and processes."""

    ALL_THREADS = "coupled, 1 x 2"
    THREAD_EACH = "coupled, 2 x 1"
    DECOUPLED = "DvD"


COUPLED = (Layout.ALL_THREADS, Layout.THREAD_EACH)


@dataclass(frozen=True, slots=True)
class Arm:
    """One of what is compared.

    Attributes:
        layout: Of its engines.
        has_vir: Whether the visual resolution router compresses.
    """

    layout: Layout
    has_vir: bool

    @property
    def name(self) -> str:
        """As tables have it."""
        return f"{self.layout} + ViR" if self.has_vir else str(self.layout)

    def servers(self, model_dir: Path) -> tuple[Server, ...]:
        """What it is made of.

        Args:
            model_dir: A Flash model where it has ViR, else a plain one.
        """
        match self.layout:
            case Layout.ALL_THREADS:
                groups = [[_process(model_dir, BOTH, None)]]
            case Layout.THREAD_EACH:
                groups = [[_process(model_dir, BOTH, core)] for core in range(NUM_THREADS)]
            case Layout.DECOUPLED:
                groups = [[_process(model_dir, (role,), core) for core, role in enumerate(BOTH)]]
        return tuple(Server(tuple(group), self._router()) for group in groups)

    def _router(self) -> RouterConfig:
        # A probe computes a token, and all arms but one are idle.
        quiet = RouterConfig(grpc_port=0, health=HealthConfig(probe_interval_seconds=60.0))
        if not self.has_vir:
            return quiet
        # Random weights have no opinion on what may be compressed, so the quantile alone decides.
        resolution = ResolutionConfig(absolute_threshold=0.0)
        return quiet.model_copy(update={"resolution": resolution})


ARMS = tuple(Arm(layout, has_vir) for has_vir in (False, True) for layout in Layout)


def _process(
    model_dir: Path, roles: tuple[ReplicaRole, ...], core: int | None
) -> ReplicaProcessSettings:
    """A process of one thread on a core, or of all threads; a role that two have is divided."""
    num_threads = NUM_THREADS if core is None else 1
    sharers = NUM_THREADS if core is not None and roles == BOTH else 1
    return ReplicaProcessSettings(
        name=str(core or 0),
        model_dir=model_dir,
        roles=roles,
        core=core,
        vision=VisionServiceConfig(
            num_threads=num_threads, feature_cache_bytes=FEATURE_CACHE_BYTES // sharers
        ),
        language=LanguageServiceConfig(
            num_threads=num_threads,
            max_batch_tokens=MAX_BATCH_TOKENS,
            kv_tokens=KV_TOKENS // sharers,
            inbox_bytes=INBOX_BYTES // sharers,
        ),
    )
