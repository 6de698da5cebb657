"""The text of one answer, from its tokens: held back while a character or a stop text is open.

An answer that goes on after another replica's tokens is told those first; what it gives out from
then on continues exactly where those tokens' text stopped, because text follows from tokens alone.
"""

from collections.abc import Iterable, Sequence

from language_service.detokenizer import Detokenizer
from language_service.stop import StopWatch


class AnswerText:
    """Turns tokens into the text that they settle.

    Args:
        detokenizer: A fresh one.
        stop_strings: Texts that end the answer.
    """

    def __init__(self, detokenizer: Detokenizer, stop_strings: Sequence[str]) -> None:
        self._detokenizer = detokenizer
        self._watch = StopWatch(stop_strings)

    @property
    def matched(self) -> str | None:
        """The stop text that was found; None so far."""
        return self._watch.matched

    def push(self, token_id: int) -> str:
        """Take a token; return what can be given out."""
        return self._watch.push(self._detokenizer.push((token_id,)))

    def replay(self, token_ids: Iterable[int]) -> None:
        """Take tokens whose text has been given out."""
        for token_id in token_ids:
            self.push(token_id)

    def finish(self) -> str:
        """Whatever was held back and is no stop text."""
        return self._watch.push(self._detokenizer.finish()) + self._watch.finish()
