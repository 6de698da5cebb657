"""Text that comes in pieces is the text that comes at once."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from language_service.detokenizer import Detokenizer
from language_service.tokenizer import ChatTokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
TEXTS = ("a", "bc", REPLACEMENT)
relaxed = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200
)


def in_pieces(tokenizer: ChatTokenizer, pieces: list[list[int]]) -> list[str]:
    """The texts, which are the same where tokens may not be decoded one by one."""
    texts = all_texts(tokenizer.detokenizer(), pieces)
    assert texts == all_texts(Detokenizer(tokenizer.decode), pieces)
    return texts


def all_texts(detokenizer: Detokenizer, pieces: list[list[int]]) -> list[str]:
    return [*(detokenizer.push(piece) for piece in pieces), detokenizer.finish()]


@pytest.fixture(scope="session")
def byte_ids(flash_model_dir: Path) -> list[int]:
    """The token of each byte."""
    vocabulary = AutoTokenizer.from_pretrained(flash_model_dir).get_vocab()
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    spelling = {byte: chr(byte) for byte in printable}
    spelling |= {byte: chr(256 + position) for position, byte in enumerate(others)}
    return [vocabulary[spelling[byte]] for byte in range(256)]


@given(pieces=st.lists(st.lists(st.integers(0, 1412), max_size=5), max_size=12))
@relaxed
def test_any_tokens(tokenizer: ChatTokenizer, pieces: list[list[int]]) -> None:
    whole = [token_id for piece in pieces for token_id in piece]
    assert "".join(in_pieces(tokenizer, pieces)) == tokenizer.decode(whole)


@given(data=st.one_of(st.binary(max_size=16), st.text(max_size=8).map(str.encode)))
@example("🐕‍🦺 犬\ufffd é".encode())
@example(b"\xe2\x82A\xf0\x9f\x98\xff\xe0\x80\x80")
@relaxed
def test_any_bytes_one_at_a_time(
    tokenizer: ChatTokenizer, byte_ids: list[int], data: bytes
) -> None:
    pieces = in_pieces(tokenizer, [[byte_ids[byte]] for byte in data])
    assert "".join(pieces) == data.decode(errors="replace")


def test_decoding_is_that_of_transformers(tokenizer: ChatTokenizer, flash_model_dir: Path) -> None:
    reference = AutoTokenizer.from_pretrained(flash_model_dir)
    token_ids = reference("A cat 's <|im_end|> é . </img>\n").input_ids
    assert tokenizer.decode(token_ids) == reference.decode(token_ids, skip_special_tokens=True)


def test_a_character_appears_once_it_is_whole(
    tokenizer: ChatTokenizer, byte_ids: list[int]
) -> None:
    pieces = in_pieces(tokenizer, [[byte_ids[byte]] for byte in "é🐕a".encode()])
    assert pieces == ["", "é", "", "", "", "🐕", "a", ""]


def test_only_the_unfinished_character_is_held_back(
    tokenizer: ChatTokenizer, byte_ids: list[int]
) -> None:
    data = "ab犬".encode()
    first, second = data[:4], data[4:]
    pieces = in_pieces(tokenizer, [[byte_ids[byte] for byte in half] for half in (first, second)])
    assert pieces == ["ab", "犬", ""]


def test_a_token_of_whole_characters_is_decoded_once_in_its_life() -> None:
    decoded: list[tuple[int, ...]] = []

    def decode(token_ids: Sequence[int]) -> str:
        decoded.append(tuple(token_ids))
        return "".join(TEXTS[each] for each in token_ids)

    detokenizer = Detokenizer(decode, lambda each: TEXTS[each])
    assert [detokenizer.push((each,)) for each in (0, 1, 0)] == ["a", "bc", "a"]
    assert not decoded
    assert detokenizer.push((2, 0)) == f"{REPLACEMENT}a"
    assert decoded[0] == (2, 0)


def test_an_unfinished_character_ends_the_text(
    tokenizer: ChatTokenizer, byte_ids: list[int]
) -> None:
    pieces = in_pieces(tokenizer, [[byte_ids[byte]] for byte in "a犬".encode()[:-1]])
    assert pieces == ["a", "", "", REPLACEMENT]
