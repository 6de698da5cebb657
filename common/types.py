"""Values that cross package borders: one small frozen dataclass per hop."""

from dataclasses import dataclass, replace
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
    """Who says a message; nobody says text that is continued as it stands."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    NOBODY = "nobody"


class ReplicaRole(StrEnum):
    """What a replica does."""

    VISION = "vision"
    LANGUAGE = "language"


@dataclass(frozen=True, slots=True)
class TokenBias:
    """What is added to the logit of one token."""

    token_id: int
    bias: float


@dataclass(frozen=True, slots=True)
class SamplingRequest:
    """How a request wants its tokens chosen; None leaves a choice to the checkpoint.

    Attributes as those of `SamplingParameters`, and:

    Attributes:
        num_choices: Answers to give to the same prompt.
    """

    seed: int
    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[TokenBias, ...] = ()
    stop_strings: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    num_logprobs: int | None = None
    num_choices: int = 1


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How the tokens of one answer are chosen, fully resolved.

    Attributes:
        max_tokens: Answer length limit, at least 1.
        temperature: 0 for greedy; the filters below then have no effect.
        seed: Seed of the sampling noise; with the output index it fixes the noise.
        top_k: Draw from this many likeliest tokens; 0 for all.
        top_p: Draw from the fewest tokens whose probability adds up to this; 1 for all.
        min_p: Draw from tokens with this share of the likeliest one's probability; 0 for all.
        repetition_penalty: Divides positive and multiplies negative logits of tokens that stand
            in the prompt's text or in the answer; 1 for none.
        presence_penalty: Taken from the logits of tokens that stand in the answer.
        frequency_penalty: Taken once for each time that a token stands in the answer.
        logit_bias: Added to logits before the penalties, at most one a token.
        stop_strings: Texts that end the answer and are no part of it.
        stop_token_ids: Tokens that do the same, beside the checkpoint's.
        ignore_eos: Whether the checkpoint's end tokens are ordinary ones.
        num_logprobs: How many likeliest tokens to report beside the chosen; None for no report.
    """

    max_tokens: int
    temperature: float
    seed: int
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[TokenBias, ...] = ()
    stop_strings: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    num_logprobs: int | None = None

    @property
    def has_penalties(self) -> bool:
        """Whether the tokens so far change the next one's logits."""
        none = (1.0, 0.0, 0.0)
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != none

    @property
    def has_filters(self) -> bool:
        """Whether a draw leaves out unlikely tokens."""
        return (self.top_k, self.top_p, self.min_p) != (0, 1.0, 0.0)

    @property
    def is_plain_greedy(self) -> bool:
        """Whether the next token is the one with the largest logit, and nothing else is asked."""
        changed = self.has_penalties or self.logit_bias
        return self.temperature == 0 and self.num_logprobs is None and not changed


@dataclass(frozen=True, slots=True)
class StopMatch:
    """The one of a request's own stops that ended its answer: exactly one of these."""

    text: str = ""
    token_id: int | None = None


@dataclass(frozen=True, slots=True)
class ChoiceEnd:
    """How one of several answers to a request ended.

    Attributes:
        finish_reason: Why.
        num_completion_tokens: Its tokens.
        stop: The one of the request's own stops that ended it; None where none did.
    """

    finish_reason: FinishReason
    num_completion_tokens: int
    stop: StopMatch | None = None


@dataclass(frozen=True, slots=True)
class AnswerSoFar:
    """What a client has of one answer.

    Attributes:
        token_ids: Its tokens.
        end: How it ended; None where that is not told yet.
    """

    token_ids: tuple[int, ...] = ()
    end: ChoiceEnd | None = None


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
        is_draining: Whether it finishes what it has begun and takes no new work.
    """

    name: str
    role: ReplicaRole
    incarnation: str
    address: str
    metrics_address: str
    fingerprint: str
    is_draining: bool = False

    def is_process_of(self, other: "ReplicaAddress") -> bool:
        """Whether both are of the same start of the same replica."""
        return replace(self, is_draining=other.is_draining) == other
