"""What both references are asked and what they answer."""

from dataclasses import dataclass

from common.types import Role


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text; literals of special tokens in it are text too."""

    text: str


@dataclass(frozen=True, slots=True)
class Pictures:
    """Picture files that share one place in the prompt; mostly one.

    Attributes:
        files: Contents of PNG or JPEG files.
    """

    files: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn."""

    role: Role
    parts: tuple[Text | Pictures, ...]


@dataclass(frozen=True, slots=True)
class PictureAnswer:
    """What became of one picture.

    Attributes:
        columns: Of its tile grid.
        rows: Of its tile grid.
        has_thumbnail: Whether the whole picture follows the grid as a last tile.
        scores: Probability of "compress" of each tile; empty without a gate.
        compressed: The decision for each tile.
    """

    columns: int
    rows: int
    has_thumbnail: bool
    scores: tuple[float, ...]
    compressed: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class ReferenceAnswer:
    """A greedy answer.

    Attributes:
        token_ids: Without the token that ended it.
        text: Decoded, special tokens left out.
        stopped: Whether it ended by itself.
        prompt_ids: The prompt with one placeholder for each visual token.
        num_visual_tokens: Placeholders in it.
        pictures: In request order.
        smallest_margin: Least distance between best and second-best logit over all steps; an engine
            that rounds differently may only be held to answers where this is not tiny.
    """

    token_ids: tuple[int, ...]
    text: str
    stopped: bool
    prompt_ids: tuple[int, ...]
    num_visual_tokens: int
    pictures: tuple[PictureAnswer, ...]
    smallest_margin: float


def user(*parts: str | bytes | tuple[bytes, ...]) -> Message:
    """Write a user message: text as str, a picture as bytes, a group as a tuple of bytes."""
    return message(Role.USER, *parts)


def message(role: Role, *parts: str | bytes | tuple[bytes, ...]) -> Message:
    """Write a message, as `user` does."""
    return Message(role, tuple(_part(part) for part in parts))


def picture_groups(messages: tuple[Message, ...]) -> tuple[Pictures, ...]:
    """Collect the picture groups of a conversation in order."""
    return tuple(part for turn in messages for part in turn.parts if isinstance(part, Pictures))


def _part(part: str | bytes | tuple[bytes, ...]) -> Text | Pictures:
    if isinstance(part, str):
        return Text(part)
    return Pictures(part if isinstance(part, tuple) else (part,))
