"""Stop texts: where an answer ends, and which of its last characters must wait until that is sure.

A text is given out as soon as no stop text can begin in it. The first stop text to be complete
wins, of several that end together the longest, so the outcome does not depend on how the text was
cut into pieces.
"""

from collections.abc import Sequence


class StopWatch:
    """Looks for stop texts in an answer that comes piece by piece.

    Args:
        stop_strings: None of them empty.

    Attributes:
        matched: The stop text that was found; None so far.
    """

    def __init__(self, stop_strings: Sequence[str]) -> None:
        self._stops = tuple(stop_strings)
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str) -> str:
        """Take more of the answer; return what can be given out.

        After a match nothing more is given out.
        """
        if not self._stops:
            return text
        if self.matched is not None or not text:
            return ""
        text = self._held + text
        found = [stop for stop in self._stops if stop in text]
        if found:
            self.matched = min(found, key=lambda stop: (text.find(stop) + len(stop), -len(stop)))
            self._held = ""
            return text[: text.find(self.matched)]
        held = self._num_held(text)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def finish(self) -> str:
        """What was held back and turned out to be no stop text."""
        held, self._held = self._held, ""
        return held

    def _num_held(self, text: str) -> int:
        """Length of the longest suffix with which a stop text begins."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
