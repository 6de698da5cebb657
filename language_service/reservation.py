"""The places that one request's pictures have in the inbox, and what is known of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from language_service.embedding_writer import EmbeddingWriter


@dataclass(frozen=True, slots=True)
class ExpectedImage:
    """A picture that will arrive.

    Attributes:
        image_key: Hash of its bytes and processing options.
        num_tiles: Tiles, thumbnail included.
        compressed: Whether each tile is compressed; None where that is not decided yet.
    """

    image_key: bytes
    num_tiles: int
    compressed: tuple[bool, ...] | None = None


@dataclass(frozen=True, slots=True)
class ArrivedImage:
    """A picture that is here, whole and checked.

    Attributes:
        image_index: Position among the request's pictures.
        embeddings: [visual tokens, hidden_size].
        tile_tokens: Visual tokens of each tile.
    """

    image_index: int
    embeddings: torch.Tensor
    tile_tokens: tuple[int, ...]


@dataclass(slots=True)
class ImageSlot:
    """The place of one picture: expected, then being written, then full; or not needed at all.

    Attributes:
        expected: The picture.
        reserved_bytes: Held for it.
        tile_tokens: Visual tokens of each tile; None until they are decided.
        writer: Who is writing it.
        is_open: Whether it may still be written.
    """

    expected: ExpectedImage
    reserved_bytes: int
    tile_tokens: tuple[int, ...] | None = None
    writer: "EmbeddingWriter | None" = None
    is_open: bool = True


class Reservation:
    """The places of one request's pictures."""

    def __init__(self, request_id: str, slots: list[ImageSlot]) -> None:
        self.request_id = request_id
        self.slots = slots
        self.is_released = False
        self.on_arrival: Callable[[ArrivedImage], None] = lambda _: None
        """Told of each picture once; set it before the first can come."""

    @property
    def reserved_bytes(self) -> int:
        """Bytes held by this request."""
        return sum(slot.reserved_bytes for slot in self.slots)
