"""Book-keeping of the KV cache: who has which blocks, and what earlier blocks may serve again.

Every sequence has blocks of its own, in one run where there is one, so that attention reads them
through a view. What it has in common with earlier sequences is copied into its run: a copy takes
a hundredth of the time of computing it, and no block is ever written by two. Blocks whose
contents are known stay in the index when their sequence ends, until the room is needed.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from language_service.block_pool import BlockPool
from language_service.prefix_index import PrefixIndex, PrefixMatch, block_name
from language_service.token_keys import TokenKeys

DEFAULT_BLOCK_SIZE = 16
# Room behind what is known, so that a sequence seldom moves in its first tokens.
SPARE_TOKENS = 64


@dataclass(frozen=True, slots=True)
class SlotCopy:
    """Tokens to copy, from slot to slot."""

    source: int
    destination: int
    num_tokens: int


NO_MATCH = PrefixMatch((), 0)


@dataclass(slots=True, eq=False)
class BlockTable:
    """The blocks of one sequence.

    Attributes:
        blocks: In order of its tokens.
        block_size: Tokens of a block.
        capacity: Tokens that fit.
        first_slot: Its first slot where all others follow; -1 where they do not.
        names: Of its leading full blocks, which the index has been told of.
    """

    blocks: list[int]
    block_size: int
    capacity: int = 0
    first_slot: int = -1
    names: list[bytes] = field(default_factory=list)

    def set_blocks(self, blocks: list[int]) -> None:
        """Take these blocks for its own."""
        self.blocks = blocks
        self.capacity = len(blocks) * self.block_size
        is_run = blocks == list(range(blocks[0], blocks[0] + len(blocks)))
        self.first_slot = blocks[0] * self.block_size if is_run else -1

    def slot(self, position: int) -> int:
        """Where a token's key and value are."""
        if self.first_slot >= 0:
            return self.first_slot + position
        block, offset = divmod(position, self.block_size)
        return self.blocks[block] * self.block_size + offset

    def slots(self, begin: int, end: int) -> list[int]:
        """Where the keys and values of tokens `begin` to `end` (exclusive) are."""
        if self.first_slot >= 0:
            return list(range(self.first_slot + begin, self.first_slot + end))
        return [self.slot(position) for position in range(begin, end)]


@dataclass(frozen=True, slots=True)
class OpenedTable:
    """A sequence's room.

    Attributes:
        table: Its blocks.
        copies: Fill its beginning from earlier blocks, before anything else is computed.
        num_tokens: Leading tokens that are there then.
    """

    table: BlockTable
    copies: tuple[SlotCopy, ...]
    num_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class PrefixHold:
    """Blocks that stay until they are let go, whoever else needs room.

    Attributes:
        match: What is held.
    """

    match: PrefixMatch


class KvBlocks:
    """All blocks of a cache.

    Args:
        num_tokens: Capacity; what does not fill a block is not used.
        block_size: Tokens of a block.
        salt: Equal for two caches whose contents mean the same.
        keeps_prefixes: Whether earlier blocks may serve again.
    """

    def __init__(
        self,
        num_tokens: int,
        block_size: int = DEFAULT_BLOCK_SIZE,
        salt: bytes = b"",
        keeps_prefixes: bool = True,
    ) -> None:
        self.block_size = block_size
        self._keeps_prefixes = keeps_prefixes
        self._index = PrefixIndex(salt, block_size)
        self._pool = BlockPool(num_tokens // block_size, self._index.remove)
        self._tables: set[BlockTable] = set()
        self._holds: set[PrefixHold] = set()

    @property
    def num_tokens(self) -> int:
        """Capacity in tokens."""
        return self._pool.num_blocks * self.block_size

    @property
    def num_free_tokens(self) -> int:
        """Tokens that no sequence has and no request holds."""
        return self._pool.num_available * self.block_size

    @property
    def num_kept_tokens(self) -> int:
        """Tokens that may serve again."""
        return self._pool.num_kept * self.block_size

    def num_blocks(self, num_tokens: int) -> int:
        """Blocks that so many tokens take."""
        return -(-num_tokens // self.block_size)

    def match(self, keys: TokenKeys, limit: int) -> PrefixMatch:
        """Find what is known of the first `limit` tokens."""
        if not self._keeps_prefixes:
            return NO_MATCH
        return self._index.match(keys, limit)

    def hold(self, match: PrefixMatch, max_held_tokens: int) -> PrefixHold | None:
        """Keep what was matched; None where all holds together would exceed the bound."""
        held = set(match.blocks).union(*(each.match.blocks for each in self._holds))
        if len(held) * self.block_size > max_held_tokens:
            return None
        return self._hold(match)

    def hold_again(self, hold: PrefixHold) -> PrefixHold:
        """Keep once more what is held already; it takes no further room."""
        return self._hold(hold.match)

    def let_go(self, hold: PrefixHold) -> None:
        """End a hold; without effect on one that has ended."""
        if hold in self._holds:
            self._holds.discard(hold)
            self._pool.release(reversed(hold.match.blocks))

    def open(
        self, num_tokens: int, num_spare: int, match: PrefixMatch, hold: PrefixHold | None
    ) -> OpenedTable | None:
        """Give a new sequence its room.

        Args:
            num_tokens: That it needs now.
            num_spare: That it may need later; given where they lie in the same run.
            match: What it has in common with earlier ones; nothing may have happened since.
            hold: The part of that which is held for it.

        Returns:
            None where there is no room.
        """
        opened = self._open_beside(num_tokens, num_spare, match)
        if opened is None:
            # The only room may be the blocks that it would copy from; what is held is not.
            opened = self._open_beside(num_tokens, 0, hold.match if hold else NO_MATCH)
        return opened

    def extend_match(
        self, table: BlockTable, keys: TokenKeys, num_written: int, limit: int
    ) -> OpenedTable:
        """See whether more of a sequence is known by now than it has computed."""
        match = self.match(keys, min(limit, table.capacity))
        if match.num_tokens <= num_written:
            return OpenedTable(table, (), num_written)
        copies = tuple(self._copies(match, table, num_written))
        return OpenedTable(table, copies, match.num_tokens)

    def grow(
        self, table: BlockTable, num_tokens: int, num_spare: int, num_written: int
    ) -> tuple[SlotCopy, ...] | None:
        """Make room for `num_tokens` in all.

        Returns:
            Copies that move the sequence, to be made at once; None where there is no room.
        """
        missing = self.num_blocks(num_tokens) - len(table.blocks)
        if missing <= 0:
            return ()
        spare = self.num_blocks(num_tokens + num_spare) - len(table.blocks)
        if table.first_slot >= 0:
            behind = table.blocks[-1] + 1
            more = self._pool.allocate_at(behind, spare) or self._pool.allocate_at(behind, missing)
            if more:
                table.set_blocks(table.blocks + more)
                return ()
        run = self._pool.allocate_run(len(table.blocks) + spare)
        if run is not None:
            return self._move(table, run, num_written)
        more = self._pool.allocate_scattered(missing)
        if more is None:
            return None
        table.set_blocks(table.blocks + more)
        return ()

    def trim(self, table: BlockTable, num_tokens: int) -> None:
        """Give back what a sequence has beyond `num_tokens`."""
        needed = max(self.num_blocks(num_tokens), 1)
        if needed < len(table.blocks):
            self._pool.release(reversed(table.blocks[needed:]))
            table.set_blocks(table.blocks[:needed])

    def index(self, table: BlockTable, keys: TokenKeys, num_written: int) -> None:
        """Make the full blocks of a sequence known, as far as they are computed."""
        if not self._keeps_prefixes:
            return
        num_full = min(num_written, keys.num_tokens) // self.block_size
        for position in range(len(table.names), num_full):
            content = self._content(keys, position)
            self._add(table.blocks[position], self._parent(table, position), content)
            table.names.append(block_name(self._parent(table, position), content))

    def close(self, table: BlockTable, keys: TokenKeys, num_written: int) -> None:
        """End a sequence's use of its blocks; what is computed stays known."""
        self.index(table, keys, num_written)
        for position, name in enumerate(table.names):
            # It was another's block that was known, and that may have been given up since.
            if name not in self._index:
                content = self._content(keys, position)
                self._add(table.blocks[position], self._parent(table, position), content)
        self._add_part(table, keys, num_written)
        self._give_back(table)

    def discard(self, table: BlockTable) -> None:
        """End a sequence's use of its blocks and forget their contents."""
        for block in table.blocks:
            self._pool.discard(block)
        self._give_back(table)

    def check_integrity(self) -> None:
        """Check that every reference has its owner and every known block its place.

        Raises:
            AssertionError: Something is lost or counted twice.
        """
        owned = Counter(block for table in self._tables for block in table.blocks)
        if owned and max(owned.values()) > 1:
            raise AssertionError("a block is in two tables")
        held = Counter(block for hold in self._holds for block in hold.match.blocks)
        self._pool.check_integrity(dict(owned + held))
        self._index.check_integrity()
        if len(self._index) != self._pool.num_kept:
            raise AssertionError(f"{len(self._index)} known, {self._pool.num_kept} kept blocks")

    def _open_beside(
        self, num_tokens: int, num_spare: int, match: PrefixMatch
    ) -> OpenedTable | None:
        # Held, so that its own room is not made of what it is about to copy.
        self._pool.refer(match.blocks)
        needed = self.num_blocks(num_tokens)
        blocks = (
            self._pool.allocate_run(self.num_blocks(num_tokens + num_spare))
            or self._pool.allocate_run(needed)
            or self._pool.allocate_scattered(needed)
        )
        self._pool.release(reversed(match.blocks))
        if blocks is None:
            return None
        table = BlockTable([], self.block_size)
        table.set_blocks(blocks)
        self._tables.add(table)
        return OpenedTable(table, tuple(self._copies(match, table, 0)), match.num_tokens)

    def _hold(self, match: PrefixMatch) -> PrefixHold:
        self._pool.refer(match.blocks)
        hold = PrefixHold(match)
        self._holds.add(hold)
        return hold

    def _content(self, keys: TokenKeys, position: int) -> bytes:
        return keys.slice(position * self.block_size, (position + 1) * self.block_size)

    def _parent(self, table: BlockTable, position: int) -> bytes:
        return table.names[position - 1] if position else self._index.root

    def _add(self, block: int, parent: bytes, content: bytes) -> None:
        if self._index.add(block, parent, content):
            self._pool.keep(block)

    def _add_part(self, table: BlockTable, keys: TokenKeys, num_written: int) -> None:
        """Make the last block known, which is not full; nothing will be written to it again."""
        position = len(table.names)
        content = keys.slice(position * self.block_size, min(num_written, keys.num_tokens))
        if self._keeps_prefixes and content:
            self._add(table.blocks[position], self._parent(table, position), content)

    def _give_back(self, table: BlockTable) -> None:
        self._tables.discard(table)
        # Later blocks are worth nothing without earlier ones, so they go first.
        self._pool.release(reversed(table.blocks))

    def _move(self, table: BlockTable, run: list[int], num_written: int) -> tuple[SlotCopy, ...]:
        old = PrefixMatch(tuple(table.blocks), num_written)
        table.set_blocks(run)
        copies = tuple(self._copies(old, table, 0))
        self._pool.release(reversed(old.blocks))
        return copies

    def _copies(self, match: PrefixMatch, table: BlockTable, begin: int) -> Iterator[SlotCopy]:
        """Copies of the tokens from `begin` on, as few as there are runs."""
        pending: SlotCopy | None = None
        for position in range(begin // self.block_size, len(match.blocks)):
            first = max(position * self.block_size, begin)
            last = min((position + 1) * self.block_size, match.num_tokens)
            source = match.blocks[position] * self.block_size + first % self.block_size
            copy = SlotCopy(source, table.slot(first), last - first)
            joined = pending and _joined(pending, copy)
            if pending and not joined:
                yield pending
            pending = joined or copy
        if pending and pending.num_tokens:
            yield pending


def _joined(first: SlotCopy, second: SlotCopy) -> SlotCopy | None:
    """One copy in place of two that follow each other."""
    if (
        first.source + first.num_tokens == second.source
        and first.destination + first.num_tokens == second.destination
    ):
        return SlotCopy(first.source, first.destination, first.num_tokens + second.num_tokens)
    return None
