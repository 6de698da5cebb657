"""The tokenizer takes any text, as Qwen's does, and transformers reads it alike."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from training.tokenizer import (
    NUM_BYTE_TOKENS,
    NUM_ORDINARY_TOKENS,
    SPECIAL_TOKENS,
    TokenIds,
    save_tokenizer,
    train_tokenizer,
)

TOKENIZER = train_tokenizer()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_normalised(text: str) -> None:
    decoded = TOKENIZER.decode(TOKENIZER.encode(text).ids, skip_special_tokens=False)
    assert decoded == TOKENIZER.normalizer.normalize_str(text)


def test_first_ids_are_single_bytes() -> None:
    tokens = [TOKENIZER.id_to_token(index) for index in range(NUM_BYTE_TOKENS)]
    assert {len(token) for token in tokens if token is not None} == {1}
    assert None not in tokens


def test_special_tokens_follow_the_ordinary_ones() -> None:
    ids = [TOKENIZER.token_to_id(token) for token in SPECIAL_TOKENS]
    assert ids == list(range(NUM_ORDINARY_TOKENS, NUM_ORDINARY_TOKENS + len(SPECIAL_TOKENS)))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("the picture", ["the", " picture"]),
        ("12", ["1", "2"]),
        ("user\n", ["user", "\n"]),
        ("<img>", ["<img>"]),
    ],
)
def test_text_is_split_as_qwen_does(text: str, tokens: list[str]) -> None:
    ids = TOKENIZER.encode(text).ids
    assert [TOKENIZER.decode([i], skip_special_tokens=False) for i in ids] == tokens


def test_auto_tokenizer_reads_the_files(tmp_path: Path) -> None:
    save_tokenizer(TOKENIZER, tmp_path, max_tokens=64)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "<|im_start|>user\nGrüße 你好 🙂  it's 2025!\n\n<IMG_CONTEXT>"
    assert loaded(text)["input_ids"] == TOKENIZER.encode(text).ids
    ids = TokenIds.of(TOKENIZER)
    assert (loaded.eos_token_id, loaded.pad_token_id) == (ids.end_of_turn, ids.end_of_text)
    assert loaded.context_image_token_id == ids.image_context
    assert loaded.model_max_length == 64
