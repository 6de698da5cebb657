"""What makes two tokens the same to the KV cache: a fixed number of bytes for each.

A text token is its id. A visual token is its picture's key, the resolution of every tile of that
picture, and its place in it. Where an embedding has no picture key nothing behind it can be
compared, and the keys end.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

# Identity of the picture, zeros for text; then token id or offset.
IDENTITY_BYTES = 16
TOKEN_KEY_BYTES = IDENTITY_BYTES + 8


def picture_identity(image_key: bytes, tile_tokens: Sequence[int]) -> bytes:
    """Name of a picture at one choice of resolutions.

    Args:
        image_key: Hash of the picture's bytes and processing options.
        tile_tokens: Visual tokens of each tile.
    """
    digest = hashlib.blake2b(digest_size=IDENTITY_BYTES, person=b"picture")
    digest.update(len(image_key).to_bytes(8, "little") + image_key)
    digest.update(np.asarray(tile_tokens, dtype="<i8").tobytes())
    return digest.digest()


class TokenKeys:
    """Keys of a sequence's leading tokens, in order; grows at its end."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.is_ended = False

    @property
    def num_tokens(self) -> int:
        """Tokens that have a key."""
        return len(self._bytes) // TOKEN_KEY_BYTES

    def add_text(self, token_ids: Sequence[int]) -> None:
        """Add text tokens."""
        self._add(bytes(IDENTITY_BYTES), np.asarray(token_ids, dtype=np.int64))

    def add_picture(self, identity: bytes | None, num_tokens: int) -> None:
        """Add the tokens of a whole picture; without an identity the keys end here."""
        if identity is None:
            self.is_ended = True
        else:
            self._add(identity, np.arange(num_tokens, dtype=np.int64))

    def slice(self, begin: int, end: int) -> bytes:
        """Keys of tokens `begin` to `end` (exclusive), as far as there are any."""
        return bytes(self._bytes[begin * TOKEN_KEY_BYTES : end * TOKEN_KEY_BYTES])

    def _add(self, identity: bytes, numbers: np.ndarray) -> None:
        if self.is_ended:
            return
        rows = np.empty((len(numbers), TOKEN_KEY_BYTES // 8), dtype="<i8")
        rows[:, :-1] = np.frombuffer(identity, dtype="<i8")
        rows[:, -1] = numbers
        self._bytes += rows.tobytes()


def num_equal_tokens(first: bytes, second: bytes) -> int:
    """Leading tokens that two strings of keys have in common."""
    length = min(len(first), len(second)) // TOKEN_KEY_BYTES * TOKEN_KEY_BYTES
    if first[:length] == second[:length]:
        return length // TOKEN_KEY_BYTES
    ours = np.frombuffer(first[:length], dtype=np.uint8)
    theirs = np.frombuffer(second[:length], dtype=np.uint8)
    return int((ours != theirs).argmax()) // TOKEN_KEY_BYTES
