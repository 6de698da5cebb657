"""An answer as server-sent events.

Of a chunk only the text changes, so all around it is written once an answer: tokens are what a
router writes most.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from common.types import ChoiceEnd
from router.answer import AnswerFinished
from router.language_client import AnswerDelta
from router.openai_answer import (
    CompletionHead,
    Dialect,
    JsonObject,
    encode,
    ends_of,
    usage_of,
)

END_OF_STREAM = b"data: [DONE]\n\n"
# Stands for the text of a chunk; no name of a model or of a request can hold it.
MARK = "\0"
WRITTEN_MARK = encode({"": MARK})[len('{"":') : -1]


@dataclass(frozen=True, slots=True)
class ChunkFrame:
    """What stands around the text of a chunk.

    Attributes:
        before: Up to the text.
        after: From there on.
    """

    before: bytes
    after: bytes


class ChunkWriter:
    """Writes the answers to one request as server-sent events."""

    def __init__(
        self, head: CompletionHead, dialect: Dialect, num_choices: int, includes_usage: bool
    ) -> None:
        """Prepare all that will not change.

        Args:
            head: What each chunk begins with.
            dialect: How a choice is written.
            num_choices: Answers that were asked for.
            includes_usage: Whether the last chunk tells what the request used.
        """
        self._head = head.document(dialect.chunk_kind)
        self._dialect = dialect
        self._includes_usage = includes_usage
        if includes_usage:
            # Every chunk but the last has it, empty.
            self._head["usage"] = None
        self._ended: set[int] = set()
        self._frames = [self._frame(index) for index in range(num_choices)]

    def start(self) -> bytes:
        """Say who speaks."""
        opening = self._dialect.opening
        if opening is None:
            return b""
        return b"".join(
            self._event([{"index": index, **opening}]) for index in range(len(self._frames))
        )

    def delta(self, delta: AnswerDelta) -> bytes:
        """Pass on more of an answer, and why it ends where it does; nothing without either."""
        end = b"" if delta.end is None else self._end(delta.choice, delta.end)
        if delta.logprobs:
            chunk = self._dialect.chunk(delta.choice, delta.text, delta.logprobs, None)
            return self._event([chunk]) + end
        if not delta.text:
            return end
        frame = self._frames[delta.choice]
        return frame.before + json.dumps(delta.text).encode() + frame.after + end

    def finish(self, finished: AnswerFinished) -> bytes:
        """Tell why each answer ended of which that is not told yet, and what all of it used."""
        events = [self._end(index, end) for index, end in enumerate(ends_of(finished))]
        if self._includes_usage:
            events.append(_written(self._head | {"choices": [], "usage": usage_of(finished)}))
        return b"".join(events) + END_OF_STREAM

    def _end(self, index: int, end: ChoiceEnd) -> bytes:
        if index in self._ended:
            return b""
        self._ended.add(index)
        return self._event([self._dialect.chunk(index, "", (), str(end.finish_reason))])

    def _frame(self, index: int) -> ChunkFrame:
        whole = self._event([self._dialect.chunk(index, MARK, (), None)])
        return ChunkFrame(*whole.split(WRITTEN_MARK))

    def _event(self, choices: Sequence[JsonObject]) -> bytes:
        return _written(self._head | {"choices": choices})


def _written(document: JsonObject) -> bytes:
    return b"data: " + encode(document) + b"\n\n"
