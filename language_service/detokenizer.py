"""Turns token ids into text as they come, a token at a time.

A character of several bytes may be spread over several tokens. Until it is whole, decoding ends in
the replacement character, and exactly that one character is held back.
"""

from collections.abc import Callable, Sequence

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """Text of one answer; all pieces together equal decoding all tokens at once.

    Only the tokens since the last whole character but one are decoded again, so the cost of a
    token does not grow with the answer.

    Args:
        decode: Decodes token ids, special tokens left out.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        # Leading tokens of the window that are context: their text has been given out.
        self._num_context_tokens = 0
        self._num_given_chars = 0

    def push(self, token_ids: Sequence[int]) -> str:
        """Take further tokens; return the text that they settle."""
        self._window.extend(token_ids)
        text = self._decode(self._window)
        if text.endswith(REPLACEMENT):
            return self._give(text[:-1])
        delta = self._give(text)
        if delta:
            del self._window[: self._num_context_tokens]
            self._num_context_tokens = len(self._window)
            self._num_given_chars = len(self._decode(self._window))
        return delta

    def finish(self) -> str:
        """The text that was held back."""
        return self._give(self._decode(self._window))

    def _give(self, text: str) -> str:
        delta = text[self._num_given_chars :]
        self._num_given_chars = max(self._num_given_chars, len(text))
        return delta
