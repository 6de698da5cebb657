"""A beginning is found to the token, and only while its blocks are known."""

import pytest

from language_service.prefix_index import PrefixIndex, PrefixMatch, block_name
from language_service.token_keys import TokenKeys

SIZE = 4


def keys_of(*ids: int) -> TokenKeys:
    keys = TokenKeys()
    keys.add_text(ids)
    return keys


def index_of(*prompts: tuple[int, ...], salt: bytes = b"") -> PrefixIndex:
    """An index of these prompts' blocks, numbered as they come."""
    index, block = PrefixIndex(salt, SIZE), 0
    for ids in prompts:
        parent, keys = index.root, keys_of(*ids)
        for begin in range(0, len(ids), SIZE):
            content = keys.slice(begin, begin + SIZE)
            index.add(block, parent, content)
            parent, block = block_name(parent, content), block + 1
    index.check_integrity()
    return index


def match(index: PrefixIndex, *ids: int, limit: int | None = None) -> PrefixMatch:
    return index.match(keys_of(*ids), len(ids) if limit is None else limit)


def test_nothing_is_known_at_first() -> None:
    assert match(index_of(), 1, 2, 3, 4) == PrefixMatch((), 0)


def test_full_blocks_are_found_in_order() -> None:
    index = index_of((1, 2, 3, 4, 5, 6, 7, 8))
    assert match(index, 1, 2, 3, 4, 5, 6, 7, 8, 9) == PrefixMatch((0, 1), 8)
    assert match(index, 1, 2, 3, 4, 9, 9, 9, 9) == PrefixMatch((0,), 4)


def test_a_part_of_a_block_is_found() -> None:
    index = index_of((1, 2, 3, 4, 5, 6, 7, 8))
    assert match(index, 1, 2, 3, 4, 5, 6, 9, 9, 9) == PrefixMatch((0, 1), 6)
    assert match(index, 1, 2, 9) == PrefixMatch((0,), 2)


def test_of_several_parts_the_longest_is_used() -> None:
    index = index_of((1, 2, 9, 9), (1, 2, 3, 9), (1, 8, 8, 8))
    assert match(index, 1, 2, 3, 4, 5) == PrefixMatch((1,), 3)


def test_a_block_that_is_not_full_is_found_as_far_as_it_goes() -> None:
    index = index_of((1, 2, 3, 4, 5, 6))
    assert match(index, 1, 2, 3, 4, 5, 6, 7, 8) == PrefixMatch((0, 1), 6)


@pytest.mark.parametrize(("limit", "blocks"), [(8, (0, 1)), (7, (0, 1)), (4, (0,)), (3, (0,))])
def test_no_more_is_found_than_asked_for(limit: int, blocks: tuple[int, ...]) -> None:
    index = index_of((1, 2, 3, 4, 5, 6, 7, 8))
    assert match(index, 1, 2, 3, 4, 5, 6, 7, 8, limit=limit) == PrefixMatch(blocks, limit)


def test_the_same_tokens_behind_others_are_others() -> None:
    index = index_of((1, 2, 3, 4, 5, 6, 7, 8))
    assert match(index, 9, 9, 9, 9, 5, 6, 7, 8) == PrefixMatch((), 0)
    assert match(index, 5, 6, 7, 8) == PrefixMatch((), 0)


def test_another_salt_shares_nothing() -> None:
    roots = {index_of(salt=salt).root for salt in (b"one model", b"another")}
    assert len(roots) == 2


def test_what_was_removed_is_never_found() -> None:
    index = index_of((1, 2, 3, 4, 5, 6, 7, 8), (1, 2, 3, 9))
    index.remove(0)
    index.check_integrity()
    assert match(index, 1, 2, 3, 4, 5, 6, 7, 8) == PrefixMatch((2,), 3)
    assert len(index) == 2


def test_what_is_known_is_not_added_again() -> None:
    index = index_of((1, 2, 3, 4))
    content = keys_of(1, 2, 3, 4).slice(0, 4)
    assert not index.add(7, index.root, content)
    assert block_name(index.root, content) in index
    assert match(index, 1, 2, 3, 4) == PrefixMatch((0,), 4)
