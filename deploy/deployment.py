"""What is deployed: one model, its replicas and its routers. A roll exchanges all three."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from common.errors import StartupError
from common.metric_families import BuildInfo
from common.model_config import load_model_config
from common.model_files import fingerprint
from common.types import ReplicaRole
from deploy.config import DeployConfig
from deploy.discovery import Discovery
from deploy.metrics import SupervisorMetrics
from deploy.model import find_model
from deploy.model_check import require_loadable
from deploy.placement import ReplicaPlan
from deploy.plan import plan_replicas
from deploy.replica_keeper import KeptState, ReplicaKeeper
from deploy.roster import Roster
from deploy.router_keeper import RouterKeeper
from language_service.weights import check_ranks
from router.server import RouterSettings


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """A model that replicas serve.

    Attributes:
        config: The configuration that names it.
        directory: Where it is.
        fingerprint: Hash of its configuration and weights.
    """

    config: DeployConfig
    directory: Path
    fingerprint: str


def find_deployed(config: DeployConfig) -> DeployedModel:
    """Resolve the model that a configuration names.

    Raises:
        ConfigError: The default model is not there, or the model cannot be cut for as many GPUs
            as a replica is to have.
        CheckpointError: There is no such model, or it would not load.
    """
    directory = find_model(config)
    require_loadable(directory)  # before Ray places what would fail one by one
    num_ranks = config.language.placement.tensor_parallel_size
    check_ranks(load_model_config(directory), num_ranks)
    return DeployedModel(config, directory, fingerprint(directory))


@dataclass
class Deployment:
    """One deployment as it is now.

    Attributes:
        model: What is served.
        on_failure: Told when something is lost for good.
        api_key: That callers of the doors must show; empty for none.
        roster: Who serves.
        metrics: The supervisor's.
        discovery: Whom to scrape.
        replicas: Every replica of the plan.
        routers: Every router.
    """

    model: DeployedModel
    on_failure: Callable[[str], None]
    api_key: str = field(default="", repr=False)
    roster: Roster = field(default_factory=Roster)
    metrics: SupervisorMetrics = field(init=False)
    discovery: Discovery = field(init=False)
    replicas: list[ReplicaKeeper] = field(default_factory=list)
    routers: list[RouterKeeper] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metrics = SupervisorMetrics(self.roster, self, self._build)
        self.discovery = Discovery(
            self.roster,
            lambda: [router.ready for router in self.routers],
            lambda: self.config.model_name,
        )

    @property
    def config(self) -> DeployConfig:
        """The configuration that is in force."""
        return self.model.config

    @property
    def outlives_us(self) -> bool:
        """Whether replicas go on without the supervisor."""
        return self.config.ray.address is not None

    @property
    def num_routers(self) -> int:
        """Routers that should serve."""
        return len(self.routers)

    @property
    def num_router_restarts(self) -> int:
        """How often they were started again."""
        return sum(router.restarts for router in self.routers)

    def num_wanted(self, role: ReplicaRole) -> int:
        """Replicas of a role that should serve."""
        serving = [each for each in self.replicas if each.state is KeptState.SERVING]
        return sum(each.plan.role is role for each in serving)

    def keeper(self, plan: ReplicaPlan) -> ReplicaKeeper:
        """Prepare a replica of ours."""
        return ReplicaKeeper(plan, self.roster, self.metrics, self.outlives_us, self.on_failure)

    def router_settings(self, model: DeployedModel, supervisor: str) -> list[RouterSettings]:
        """What every router of a model is told.

        Args:
            model: What it serves.
            supervisor: `host:port` of the roster service.
        """
        config = model.config
        longest = load_model_config(model.directory).max_context_tokens
        return [
            RouterSettings(
                config=config.router_config(index),
                model_name=config.model_name,
                model_dir=model.directory,
                fingerprint=model.fingerprint,
                max_context_tokens=config.language.service.context_tokens(longest),
                supervisor=supervisor,
                drain_seconds=config.drain_seconds,
                log=config.log,
                api_key=self.api_key,
            )
            for index in range(config.routers)
        ]

    def _build(self) -> BuildInfo:
        return BuildInfo(self.config.model_name, self.model.fingerprint)

    async def wait_until_ready(
        self, keepers: list[ReplicaKeeper], failure: "asyncio.Future[None]"
    ) -> None:
        """Wait until replicas are on the roster.

        Args:
            keepers: Which.
            failure: Ends the waiting when it fails.

        Raises:
            StartupError: They failed, or took too long.
        """
        timeout = self.config.start_timeout_seconds
        ready = asyncio.gather(*(keeper.wait_until_ready() for keeper in keepers))
        waited: tuple[asyncio.Future[Any], ...] = (ready, failure)
        await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
        if failure.done():
            await failure
        if ready.cancelled() or not ready.done():
            late = [each.plan.name for each in keepers if not self.roster.find(each.plan.name)]
            raise StartupError(f"Not ready after {timeout:g} seconds: {', '.join(sorted(late))}.")


def plans_of(
    model: DeployedModel,
    taken: frozenset[str] = frozenset(),
    found: frozenset[str] = frozenset(),
) -> list[ReplicaPlan]:
    """Plan every replica of a model, under names that are not taken.

    Args:
        model: What they serve.
        taken: Names of replicas of another model that still run.
        found: Names of replicas that a supervisor before us has left.
    """
    device = model.config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    plans = plan_replicas(model.config, model.directory, model.fingerprint, device, taken, found)
    return interleaved(plans)


def interleaved(plans: list[ReplicaPlan]) -> list[ReplicaPlan]:
    """Vision and language by turns, so that the first ones to find room are one of each."""
    by_role = [[plan for plan in plans if plan.role is role] for role in ReplicaRole]
    longest = max(map(len, by_role))
    return [plans[index] for index in range(longest) for plans in by_role if index < len(plans)]


def served_by(config: DeployConfig, model: str, revision: str | None) -> DeployConfig:
    """The configuration with another model behind the name that clients give."""
    return config.model_copy(
        update={"model": model, "revision": revision, "served_model_name": config.model_name}
    )
