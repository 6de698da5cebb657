"""Every input that fuzzing found worth keeping, and random ones beside them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.embedding_stream import check, frame
from tests.fuzz.seeds import seeds

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_all_inputs_of_the_corpus_hold() -> None:
    assert len(CORPUS) >= len(seeds())
    for file in CORPUS:
        check(file.read_bytes())


@pytest.mark.parametrize("number", range(len(seeds())))
def test_every_seed_holds_wherever_it_is_cut(number: int) -> None:
    seed = seeds()[number]
    for length in range(len(seed)):
        check(seed[:length])


@settings(max_examples=300, deadline=None)
@given(
    number=st.integers(0, len(seeds()) - 1),
    edits=st.lists(st.tuples(st.integers(0, 160), st.binary(max_size=3)), max_size=4),
    rest=st.lists(st.tuples(st.binary(max_size=30), st.integers(0, 1)), max_size=2),
)
def test_damaged_streams_hold(
    number: int, edits: list[tuple[int, bytes]], rest: list[tuple[bytes, int]]
) -> None:
    data = seeds()[number]
    for at, inserted in edits:
        data = data[:at] + inserted + data[at + 1 :]
    check(data + b"".join(frame(message, flags) for message, flags in rest))
