"""A conversation as it travels inside: text, and pictures by their position in the request.

The router makes it from the public request, the language service from the router's.
"""

from dataclasses import dataclass

from common.types import Role


@dataclass(frozen=True, slots=True)
class TextPart:
    """Plain text, never read as control tokens."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageGroupPart:
    """Pictures that share one place in the prompt; a lone picture is a group of one.

    Attributes:
        image_indexes: Positions among all pictures of the request.
    """

    image_indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One turn.

    Attributes:
        role: Who says it.
        parts: What is said, in order.
    """

    role: Role
    parts: tuple[TextPart | ImageGroupPart, ...]
