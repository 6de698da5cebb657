"""Texts of an asked length in tokens, without a tokenizer: the server counts, once for each word.

A tokenizer splits a text into words before it splits words into tokens, so that a text has as many
tokens as its words have.
"""

import random
from dataclasses import dataclass

# Common ones, mostly of one token.
WORDS = (
    *("the", "is", "what", "picture", "colour", "red", "blue", "green", "sign", "big", "left"),
    *("right", "one", "two", "three", "shows", "a", "of", "and", "in", "word", "number", "how"),
    *("many", "there", "first", "second", "house", "tree", "river", "stone", "light", "water"),
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word behind another one.

    Attributes:
        text: Its letters.
        num_tokens: With the blank before it.
    """

    text: str
    num_tokens: int


class Vocabulary:
    """Words to make texts of.

    Args:
        words: At least one, each of at least one token.
    """

    def __init__(self, words: tuple[Word, ...]) -> None:
        self._words = words

    def text(self, num_tokens: int, draws: random.Random) -> str:
        """Draw a text of this many tokens, or of the next fewer that there are words for.

        Args:
            num_tokens: At least 1. The first word is counted like all others, though it has no
                blank before it.
            draws: Where the words come from.
        """
        chosen: list[Word] = []
        left = num_tokens
        while fitting := [word for word in self._words if word.num_tokens <= left]:
            chosen.append(draws.choice(fitting))
            left -= chosen[-1].num_tokens
        if not chosen:
            chosen.append(min(self._words, key=lambda word: word.num_tokens))
        return " ".join(word.text for word in chosen)
