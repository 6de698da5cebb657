"""Two tokens have one key if and only if they mean the same at their place."""

from hypothesis import given
from hypothesis import strategies as st

from language_service.token_keys import (
    TOKEN_KEY_BYTES,
    TokenKeys,
    num_equal_tokens,
    picture_identity,
)

CAT, DOG = picture_identity(b"cat", (4,)), picture_identity(b"dog", (4,))


def keys_of(*parts: list[int] | bytes | None) -> TokenKeys:
    keys = TokenKeys()
    for part in parts:
        if isinstance(part, list):
            keys.add_text(part)
        else:
            keys.add_picture(part, 4)
    return keys


def whole(*parts: list[int] | bytes | None) -> bytes:
    keys = keys_of(*parts)
    return keys.slice(0, keys.num_tokens)


def test_text_is_its_ids_however_it_was_cut() -> None:
    assert whole([1, 2, 3]) == whole([1], [2, 3])
    assert whole([1, 2, 3]) != whole([1, 2, 4])


def test_pictures_differ_by_name_and_resolution() -> None:
    names = {
        picture_identity(b"cat", (4,)),
        picture_identity(b"dog", (4,)),
        picture_identity(b"cat", (1,)),
        picture_identity(b"cat", (4, 1)),
        picture_identity(b"cat", (1, 4)),
    }
    assert len(names) == 5
    assert picture_identity(b"cat", (4,)) == CAT


def test_places_in_a_picture_differ() -> None:
    keys = whole(CAT)
    assert len({keys[i : i + TOKEN_KEY_BYTES] for i in range(0, len(keys), TOKEN_KEY_BYTES)}) == 4
    assert whole(CAT) != whole(DOG)
    assert whole([0, 1, 2, 3]) != whole(CAT)


def test_behind_an_unknown_picture_nothing_has_a_key() -> None:
    keys = keys_of([1, 2], None, [3], CAT)
    assert keys.num_tokens == 2
    assert keys.is_ended


def test_slices_end_where_the_keys_end() -> None:
    keys = keys_of([1, 2, 3])
    assert keys.slice(1, 99) == whole([1, 2, 3])[TOKEN_KEY_BYTES:]
    assert keys.slice(5, 99) == b""


IDS = st.lists(st.integers(0, 3), max_size=12)


@given(IDS, IDS)
def test_common_beginnings_are_counted_in_tokens(first: list[int], second: list[int]) -> None:
    equal = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        equal += 1
    assert num_equal_tokens(whole(first), whole(second)) == equal
