"""What a load needs of a door of the cluster, whichever it is."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from common.types import Role
from deploy.bench.pictures import Picture


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation.

    Attributes:
        role: Who says it.
        text: What is said, after the pictures.
        pictures: Shown with it.
    """

    role: Role
    text: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """One request.

    Attributes:
        messages: The conversation so far, ending with the user.
        max_tokens: Limit of the answer.
        ignore_eos: Go on past the model's own end.
        temperature: 0 for greedy.
        timeout_seconds: Deadline.
    """

    messages: tuple[Said, ...]
    max_tokens: int
    ignore_eos: bool = False
    temperature: float = 0.0
    timeout_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class TokenUse:
    """What an answer used; tokens of pictures are after compression.

    Attributes:
        text_tokens: Of the prompt.
        visual_tokens: Of the prompt.
        visual_tokens_before: What they would be without the resolution router.
        tiles: Of all pictures.
        compressed_tiles: Of these.
        cached_tokens: Of the prompt, not computed.
        output_tokens: Of the answer.
    """

    text_tokens: int = 0
    visual_tokens: int = 0
    visual_tokens_before: int = 0
    tiles: int = 0
    compressed_tiles: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Where an answer's time went, as the server tells it; stages overlap."""

    queue: float
    preprocess: float
    vit: float
    gate: float
    project: float
    transfer: float
    prefill: float
    decode: float


@dataclass(frozen=True, slots=True)
class Delta:
    """More of an answer.

    Attributes:
        text: New text; may be empty.
        num_tokens: New tokens.
    """

    text: str
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event of an answer.

    Attributes:
        use: What it used.
        stages: Where its time went; None where the door does not tell.
    """

    use: TokenUse
    stages: StageSeconds | None = None


class Door(Protocol):
    """A door of a running cluster."""

    @property
    def num_retries(self) -> int:
        """How often a request had to be asked again so far."""

    async def model_name(self) -> str:
        """Ask what is served.

        Raises:
            DvdError: There is no such door.
        """

    def ask(self, question: Question) -> AsyncIterator[Delta | Ended]:
        """Answer a request; the last event is `Ended`.

        Raises:
            DvdError: What the door answered.
        """

    async def close(self) -> None:
        """Let connections go."""
