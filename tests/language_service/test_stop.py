"""Stop texts: found wherever the pieces are cut, and nothing is held back without reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from language_service.stop import StopWatch

texts = st.text("abc", max_size=30)
stops = st.lists(st.text("abc", min_size=1, max_size=5), max_size=3)


def until_stop(text: str, stop_strings: list[str]) -> tuple[str, str | None]:
    """What an answer gives, told character by character."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stop_strings if text[:end].endswith(stop)]
        if ended:
            longest = max(ended, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(stops, st.lists(texts))
def test_pieces_do_not_matter(stop_strings: list[str], pieces: list[str]) -> None:
    watch = StopWatch(stop_strings)
    given_out = "".join(watch.push(piece) for piece in pieces) + watch.finish()
    assert (given_out, watch.matched) == until_stop("".join(pieces), stop_strings)


@given(stops, st.lists(texts))
def test_only_what_may_begin_a_stop_text_is_held_back(
    stop_strings: list[str], pieces: list[str]
) -> None:
    watch, given_out, seen = StopWatch(stop_strings), "", ""
    for piece in pieces:
        given_out, seen = given_out + watch.push(piece), seen + piece
        if watch.matched is None:
            held = seen[len(given_out) :]
            assert given_out + held == seen
            assert not held or any(stop.startswith(held) for stop in stop_strings)


@pytest.mark.parametrize(
    ("stop_strings", "pieces", "given_out"),
    [
        (["###"], ["a#", "#", "b", "##", "#c"], ["a", "", "##b", "", ""]),
        (["abcd", "bc"], ["abcd"], ["a"]),
        (["c", "abc"], ["xabc"], ["x"]),
        (["\n\n"], ["one\n", "two\n", "\nthree"], ["one", "\ntwo", ""]),
        ([], ["a", ""], ["a", ""]),
    ],
)
def test_examples(stop_strings: list[str], pieces: list[str], given_out: list[str]) -> None:
    watch = StopWatch(stop_strings)
    assert [watch.push(piece) for piece in pieces] == given_out


def test_nothing_follows_a_match() -> None:
    watch = StopWatch(["."])
    assert (watch.push("a.b"), watch.push("c"), watch.finish()) == ("a", "", "")
    assert watch.matched == "."
