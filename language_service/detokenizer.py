"""Turns token ids into text as they come, a token at a time.

A character of several bytes may be spread over several tokens. Until it is whole, decoding ends in
the replacement character, and exactly that one character is held back.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """Text of one answer; all pieces together equal decoding all tokens at once.

    Only the tokens since the last whole character but one are decoded again, so the cost of a
    token does not grow with the answer. Where a token's text does not depend on those before it,
    a token of whole characters is not even decoded twice in its life.

    Args:
        decode: Decodes token ids, special tokens left out.
        token_text: Remembers what `decode` makes of one token; None where the text of two tokens
            is not that of one and that of the other.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        token_text: Callable[[int], str] | None = None,
    ) -> None:
        self._decode = decode
        self._token_text = token_text
        self._window: list[int] = []
        # Leading tokens of the window that are context: their text has been given out.
        self._num_context_tokens = 0
        self._num_given_chars = 0

    def push(self, token_ids: Sequence[int]) -> str:
        """Take further tokens; return the text that they settle."""
        window = self._window
        if self._token_text is not None and len(window) == self._num_context_tokens:
            text = "".join(map(self._token_text, token_ids))
            if REPLACEMENT not in text:
                window.clear()
                self._num_context_tokens = self._num_given_chars = 0
                return text
        window += token_ids
        text = self._decode(window)
        if text.endswith(REPLACEMENT):
            return self._give(text[:-1])
        delta = self._give(text)
        if delta:
            del window[: self._num_context_tokens]
            self._num_context_tokens = len(window)
            self._num_given_chars = len(self._decode(window))
        return delta

    def finish(self) -> str:
        """The text that was held back."""
        return self._give(self._decode(self._window))

    def _give(self, text: str) -> str:
        delta = text[self._num_given_chars :]
        self._num_given_chars = max(self._num_given_chars, len(text))
        return delta


class AnswerTokenizer(Protocol):
    """The part of a tokenizer that answers need."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""

    @property
    def vocabulary_size(self) -> int:
        """One past the largest token id."""

    def detokenizer(self) -> Detokenizer:
        """Start the text of a new answer."""
