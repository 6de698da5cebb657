"""A byte-level BPE tokenizer with Qwen's rules for splitting text and InternVL's special tokens.

Merges are learnt from `training.corpus`, so a checkpoint needs nothing from outside. What counts
for serving is as published: byte-level, no text that cannot be encoded, special tokens behind the
ordinary ones in the published order, and a model vocabulary padded beyond the tokenizer's.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from training.corpus import PARAGRAPHS, ROLES, WORDS
from training.vocabulary import all_text

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"
IMAGE_START = "<img>"
IMAGE_END = "</img>"
IMAGE_CONTEXT = "<IMG_CONTEXT>"
VIDEO = "<video>"
SPECIAL_TOKENS = (
    END_OF_TEXT,
    "<|im_start|>",
    END_OF_TURN,
    IMAGE_START,
    IMAGE_END,
    IMAGE_CONTEXT,
    "<quad>",
    "</quad>",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
    VIDEO,
)
NUM_ORDINARY_TOKENS = 1400
NUM_BYTE_TOKENS = 256
WORLD_REPEATS = 20

# Qwen2's rule: contractions, words with one leading sign, single digits, signs, line ends, spaces.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Ids of the special tokens that the other files of a checkpoint name."""

    end_of_text: int
    end_of_turn: int
    image_context: int

    @staticmethod
    def of(tokenizer: Tokenizer) -> "TokenIds":
        """Look the ids up."""
        ids = tokenizer.get_vocab(with_added_tokens=True)
        return TokenIds(ids[END_OF_TEXT], ids[END_OF_TURN], ids[IMAGE_CONTEXT])


def train_tokenizer() -> Tokenizer:
    """Learn the merges; ids 0..255 are bytes, then merges, then the special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=NUM_ORDINARY_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    words = [f" {word}" for word in WORDS.split()]
    # Repeated, so that every word of the pictures' world becomes a token of its own.
    world = all_text() * WORLD_REPEATS
    tokenizer.train_from_iterator([*world, *PARAGRAPHS.split("\n\n"), *words, *ROLES], trainer)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, directory: Path, max_tokens: int) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json`, as AutoTokenizer reads them.

    Args:
        tokenizer: Trained.
        directory: Where to write.
        max_tokens: Longest context of the model.
    """
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "bos_token": None,
        "padding_side": "left",
        "model_max_length": max_tokens,
        "clean_up_tokenization_spaces": False,
        "extra_special_tokens": {
            "start_image_token": IMAGE_START,
            "end_image_token": IMAGE_END,
            "context_image_token": IMAGE_CONTEXT,
            "video_token": VIDEO,
        },
    }
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
