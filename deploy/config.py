"""The configuration of a whole deployment: YAML, overlaid by the command line.

Strict: an unknown key is an error that names the nearest known one. Every process is handed its
own part and nothing else.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from common.config import (
    LanguageServiceConfig,
    LogConfig,
    RouterConfig,
    StrictModel,
    VisionServiceConfig,
)
from common.errors import ConfigError

DEFAULT_MODEL = "models/internvl3_5-tiny-flash"

Document = dict[str, Any]


class PlacementConfig(StrictModel):
    """What each replica of a role asks of Ray.

    Attributes:
        replicas: How many.
        num_cpus: Logical CPUs of each.
        num_gpus: GPUs of each; null asks for one where the device is CUDA.
        max_restarts: How often Ray restarts a lost replica; lost once more, it ends the command. -1
            for no end.
        resources: Custom resources of each, by the names that nodes were started with.
        labels: What the labels of its node must be, such as `dvd.role: vision`; how roles are kept
            to nodes of their own.
    """

    replicas: PositiveInt = 1
    num_cpus: PositiveFloat = 1.0
    num_gpus: NonNegativeFloat | None = None
    max_restarts: int = Field(default=5, ge=-1)
    resources: dict[str, PositiveFloat] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)


class LanguagePlacementConfig(PlacementConfig):
    """The same of language replicas, which may take several GPUs each.

    Attributes:
        tensor_parallel_size: Ranks that hold one replica's model together, on one node; CPUs and
            GPUs are those of each.
    """

    tensor_parallel_size: PositiveInt = 1

    @model_validator(mode="after")
    def _has_whole_gpus(self) -> Self:
        if self.tensor_parallel_size > 1 and self.num_gpus not in (None, 0, 1):
            raise ValueError("each rank takes one GPU, or none: num_gpus is neither")
        return self


class VisionConfig(StrictModel):
    """The vision side."""

    placement: PlacementConfig = PlacementConfig()
    service: VisionServiceConfig = VisionServiceConfig()


class LanguageConfig(StrictModel):
    """The language side."""

    placement: LanguagePlacementConfig = LanguagePlacementConfig()
    service: LanguageServiceConfig = LanguageServiceConfig()

    @model_validator(mode="after")
    def _compiles_whole_models(self) -> Self:
        if self.service.compile and self.placement.tensor_parallel_size > 1:
            raise ValueError("compile goes with a tensor_parallel_size of 1 alone")
        return self


class RayConfig(StrictModel):
    """How Ray is reached.

    Attributes:
        address: An existing cluster; null starts one on this machine that ends with the command.
        auth_mode: Ray's own authentication, always set explicitly.
    """

    address: str | None = None
    auth_mode: Literal["token", "disabled"] = "token"


class DeployConfig(StrictModel):
    """Everything that `dvd serve` needs to know.

    Attributes:
        model: Model directory or hub id.
        revision: Branch, tag or commit of a hub id.
        served_model_name: Name that clients give; null takes the last part of `model`.
        device: `auto` takes CUDA where there is one.
        start_timeout_seconds: Time for all replicas to become ready.
        drain_seconds: Time that running answers get when the command is told to stop, or a replica
            to drain.
        ray: How Ray is reached.
        vision: The vision side.
        language: The language side.
        router: The public door.
        routers: How many; each listens one port above the one before.
        api_key_file: File with the key that callers of the doors must show; the environment's
            DVD_API_KEY and --api-key-file win over it; null, and neither of these, for no key.
        control_port: Port on this machine for `dvd status` and `dvd drain`; null takes the one
            below the first router's, or a free one where that one's is free too.
        metrics_port: Port of the supervisor's own `/metrics` and of `/sd`, which lists whom to
            scrape; 0 for a free one.
        discovery_file: Where the same list is kept for Prometheus; null takes a file named after
            the control port in the user's folder of the temporary directory.
        log: How every process logs.
    """

    model: str = DEFAULT_MODEL
    revision: str | None = None
    served_model_name: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    start_timeout_seconds: PositiveFloat = 600.0
    drain_seconds: NonNegativeFloat = 30.0
    ray: RayConfig = RayConfig()
    vision: VisionConfig = VisionConfig()
    language: LanguageConfig = LanguageConfig()
    router: RouterConfig = RouterConfig()
    routers: PositiveInt = 1
    api_key_file: Path | None = None
    control_port: int | None = Field(default=None, ge=0, le=65535)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    discovery_file: Path | None = None
    log: LogConfig = LogConfig()

    @property
    def model_name(self) -> str:
        """Name that clients give."""
        return self.served_model_name or self.model.rstrip("/").rpartition("/")[2]

    @property
    def own_control_port(self) -> int:
        """Port of the supervisor; 0 for a free one."""
        if self.control_port is not None:
            return self.control_port
        return max(0, self.router.grpc_port - 1)

    def router_config(self, index: int) -> RouterConfig:
        """The configuration of one of the routers; ports that are not 0 are each router's own."""
        config = self.router
        ports = {
            "grpc_port": config.grpc_port,
            "http_port": config.own_http_port,
            "metrics_port": config.metrics_port,
        }
        own = {key: port + index if port else 0 for key, port in ports.items()}
        return config.model_copy(update=own)


def load_config(file: Path | None, overrides: Mapping[str, Any]) -> DeployConfig:
    """Read a configuration file and lay the command line over it.

    Args:
        file: YAML file; None for the defaults.
        overrides: Values by dotted key, such as `router.grpc_port`.

    Raises:
        ConfigError: The file cannot be read, or a key or value is wrong.
    """
    document = _read(file) if file is not None else {}
    for key, value in overrides.items():
        _set(document, key.split("."), value)
    try:
        return DeployConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split `key=value` of the command line; the value is read as YAML.

    Raises:
        ConfigError: There is no `=`, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"--set takes key=value, such as router.grpc_port=50051; got {text!r}.")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as cause:
        raise ConfigError(f"The value of {key} is not valid YAML.") from cause


def _read(file: Path) -> Document:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as cause:
        raise ConfigError(f"Cannot read the configuration file {file}.") from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{file} is not valid YAML.") from cause
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{file} must hold keys and values.")
    return document


def _set(document: Document, path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        section = document.get(name, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{'.'.join(path)} is set, but {name} is not a section.")
        # A copy, because a YAML alias may share the section with another place.
        document[name] = dict(section)
        document = document[name]
    document[path[-1]] = value


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']}."
    known = list(_section(first["loc"][:-1]).model_fields)
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.0)
    return f"Unknown key {key}; did you mean {'.'.join([*map(str, first['loc'][:-1]), *near])}?"


def _section(path: Sequence[str | int]) -> type[BaseModel]:
    section: type[BaseModel] = DeployConfig
    for name in path:
        kind = section.model_fields[str(name)].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            break
        section = kind
    return section
