"""Finds the blocks that hold the beginning of a prompt.

A full block's name is a hash over its own token keys and the name of the block before it, so it
stands for everything from the first token on. The first name is a hash of a salt: the model, and
whatever else must never share. Blocks are compared to the token: behind the last full block that
fits, the one with the most leading tokens in common is used in part.
"""

import hashlib
from dataclasses import dataclass

from language_service.token_keys import TOKEN_KEY_BYTES, TokenKeys, num_equal_tokens

NAME_BYTES = 16


@dataclass(frozen=True, slots=True)
class PrefixMatch:
    """Blocks that hold a prompt's beginning.

    Attributes:
        blocks: In order.
        num_tokens: Leading tokens that they hold; of the last block perhaps a part.
    """

    blocks: tuple[int, ...]
    num_tokens: int


@dataclass(frozen=True, slots=True)
class IndexedBlock:
    """What is known of one block.

    Attributes:
        parent: Name of the block before it.
        name: Its own.
        keys: Of its tokens.
    """

    parent: bytes
    name: bytes
    keys: bytes

    @property
    def place(self) -> bytes:
        """What it has in common with every block that may be used in its stead, in part."""
        return self.parent + self.keys[:TOKEN_KEY_BYTES]


class PrefixIndex:
    """All blocks whose contents are known.

    Args:
        salt: Equal for two prompts that may share.
        block_size: Tokens of a full block.
    """

    def __init__(self, salt: bytes, block_size: int) -> None:
        self.root = hashlib.blake2b(salt, digest_size=NAME_BYTES, person=b"root").digest()
        self._block_size = block_size
        self._blocks: dict[int, IndexedBlock] = {}
        self._by_name: dict[bytes, int] = {}
        self._by_place: dict[bytes, set[int]] = {}

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, name: bytes) -> bool:
        return name in self._by_name

    def match(self, keys: TokenKeys, limit: int) -> PrefixMatch:
        """Find the longest known beginning.

        Args:
            keys: Of the prompt.
            limit: Most tokens to match.
        """
        name, blocks, matched = self.root, [], 0
        while matched < limit:
            wanted = keys.slice(matched, min(matched + self._block_size, limit))
            if len(wanted) == self._block_size * TOKEN_KEY_BYTES:
                below = block_name(name, wanted)
                block = self._by_name.get(below)
                if block is not None:
                    name = below
                    blocks.append(block)
                    matched += self._block_size
                    continue
            block, num_tokens = self._best_part(name, wanted)
            if block is not None:
                blocks.append(block)
            return PrefixMatch(tuple(blocks), matched + num_tokens)
        return PrefixMatch(tuple(blocks), matched)

    def add(self, block: int, parent: bytes, keys: bytes) -> bool:
        """Make a block known; False where another holds the same."""
        name = block_name(parent, keys)
        if name in self._by_name:
            return False
        known = IndexedBlock(parent, name, keys)
        self._blocks[block] = known
        self._by_name[name] = block
        self._by_place.setdefault(known.place, set()).add(block)
        return True

    def remove(self, block: int) -> None:
        """Forget a block."""
        known = self._blocks.pop(block)
        del self._by_name[known.name]
        alike = self._by_place[known.place]
        alike.discard(block)
        if not alike:
            del self._by_place[known.place]

    def check_integrity(self) -> None:
        """Compare the ways of looking a block up.

        Raises:
            AssertionError: They differ.
        """
        if {known.name: block for block, known in self._blocks.items()} != self._by_name:
            raise AssertionError("names and blocks differ")
        children = {(place, block) for place, found in self._by_place.items() for block in found}
        if children != {(known.place, block) for block, known in self._blocks.items()}:
            raise AssertionError("places and blocks differ")
        for block, known in self._blocks.items():
            if block_name(known.parent, known.keys) != known.name:
                raise AssertionError(f"block {block} has the name of another")

    def _best_part(self, parent: bytes, wanted: bytes) -> tuple[int | None, int]:
        best, most = None, 0
        for block in self._by_place.get(parent + wanted[:TOKEN_KEY_BYTES], ()):
            num_tokens = num_equal_tokens(self._blocks[block].keys, wanted)
            if num_tokens > most:
                best, most = block, num_tokens
        return best, most


def block_name(parent: bytes, keys: bytes) -> bytes:
    """Name of a block with these token keys behind that parent."""
    return hashlib.blake2b(parent + keys, digest_size=NAME_BYTES, person=b"block").digest()
