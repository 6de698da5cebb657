"""What a sender promises about one picture's embedding, and what this replica accepts.

Checked before memory is taken for the payload. Wire types end here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from common.errors import EmbeddingRejectedError, MismatchError
from common.tensor_codec import torch_dtype
from protos.dvd.v1 import embedding_pb2


@dataclass(frozen=True, slots=True)
class Manifest:
    """The opening message of an embedding stream.

    Attributes:
        request_id: Request that the picture belongs to.
        image_index: Position among the request's pictures.
        attempt: Count of earlier tries.
        repeat: Count of earlier streams of this try.
        image_key: Hash of the picture's bytes and processing options.
        model_fingerprint: Of the sender's model.
        dtype: Element type of the payload.
        hidden_size: Width of one visual token.
        tile_tokens: Visual tokens of each tile.
        num_bytes: Payload bytes.
    """

    request_id: str
    image_index: int
    attempt: int
    repeat: int
    image_key: bytes
    model_fingerprint: str
    dtype: torch.dtype
    hidden_size: int
    tile_tokens: tuple[int, ...]
    num_bytes: int

    def is_after(self, other: "Manifest") -> bool:
        """Whether this stream was opened after another one for the same place."""
        return (self.attempt, self.repeat) > (other.attempt, other.repeat)


@dataclass(frozen=True, slots=True)
class EmbeddingFormat:
    """What a language replica accepts.

    Attributes:
        model_fingerprint: Of its own model.
        dtype: Element type that it computes in.
        hidden_size: Width of one visual token.
        full_tokens: Visual tokens of a tile at full resolution.
        compressed_tokens: Visual tokens of a compressed tile; `full_tokens` without a gate.
    """

    model_fingerprint: str
    dtype: torch.dtype
    hidden_size: int
    full_tokens: int
    compressed_tokens: int

    @property
    def token_bytes(self) -> int:
        """Bytes of one visual token."""
        return self.hidden_size * self.dtype.itemsize

    def max_bytes(self, num_tiles: int) -> int:
        """Most bytes that a picture of so many tiles can need."""
        return num_tiles * self.full_tokens * self.token_bytes

    def tile_tokens(self, compressed: Iterable[bool]) -> tuple[int, ...]:
        """Visual tokens of each tile at a decided resolution."""
        return tuple(self.compressed_tokens if each else self.full_tokens for each in compressed)

    def check(self, manifest: Manifest, num_tiles: int) -> None:
        """Check a manifest against this format and the announced tile count.

        Raises:
            MismatchError: Sender and receiver serve different models or element types.
            EmbeddingRejectedError: Counts do not fit.
        """
        _agree("Model fingerprint", manifest.model_fingerprint, self.model_fingerprint)
        _agree("Element type", manifest.dtype, self.dtype)
        _agree("Hidden size", manifest.hidden_size, self.hidden_size)
        if len(manifest.tile_tokens) != num_tiles:
            raise EmbeddingRejectedError(
                f"The manifest has {len(manifest.tile_tokens)} tiles, the request {num_tiles}."
            )
        allowed = {self.full_tokens, self.compressed_tokens}
        for tokens in manifest.tile_tokens:
            if tokens not in allowed:
                raise EmbeddingRejectedError(
                    f"A tile has {tokens} visual tokens; possible are {sorted(allowed)}."
                )
        wanted = sum(manifest.tile_tokens) * self.token_bytes
        if manifest.num_bytes != wanted:
            raise EmbeddingRejectedError(
                f"The manifest has {manifest.num_bytes} bytes; its tiles need {wanted}."
            )


def manifest_of(wire: embedding_pb2.EmbeddingManifest) -> Manifest:
    """Translate the wire message.

    Raises:
        EmbeddingRejectedError: The element type is not supported.
    """
    return Manifest(
        request_id=wire.slot.request_id,
        image_index=wire.slot.image_index,
        attempt=wire.slot.attempt,
        repeat=wire.slot.repeat,
        image_key=wire.image_key,
        model_fingerprint=wire.model_fingerprint,
        dtype=torch_dtype(wire.dtype),
        hidden_size=wire.hidden_size,
        tile_tokens=tuple(wire.tile_tokens),
        num_bytes=wire.num_bytes,
    )


def _agree(what: str, theirs: object, ours: object) -> None:
    if theirs != ours:
        raise MismatchError(f"{what} differs: the sender has {theirs}, the receiver {ours}.")
