"""Values that cross package borders: one small frozen dataclass per hop."""

from dataclasses import dataclass
from enum import StrEnum


class ResolutionScope(StrEnum):
    """Tiles over which the relative threshold of the resolution rule is taken."""

    REQUEST = "request"
    IMAGE = "image"
    ABSOLUTE = "absolute"
    OFF = "off"


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"


class Role(StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class ReplicaRole(StrEnum):
    """What a replica does."""

    VISION = "vision"
    LANGUAGE = "language"


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How the tokens of one answer are chosen, fully resolved.

    Attributes:
        max_tokens: Answer length limit, at least 1.
        temperature: 0 for greedy.
        seed: Seed of the sampling noise; with the output index it fixes the noise.
    """

    max_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True)
class ReplicaAddress:
    """Where one replica is to be found.

    Attributes:
        name: Stable name, such as `vision-0`.
        role: What it does.
        incarnation: Changes with every start.
        address: `host:port` of its gRPC server.
        metrics_address: `host:port` of its `/metrics`.
        fingerprint: Hash of the configuration and weights that it serves.
    """

    name: str
    role: ReplicaRole
    incarnation: str
    address: str
    metrics_address: str
    fingerprint: str
