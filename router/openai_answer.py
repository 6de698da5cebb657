"""A whole answer as an OpenAI client reads it: heads, usage, log probabilities, one document.

The two kinds of completion differ in the shape of a choice alone; `Dialect` is that difference.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from common.types import ChoiceEnd
from router.answer import AnswerFinished, TokenLogprob, TokenLogprobs
from router.language_client import AnswerDelta

JsonObject = dict[str, Any]


class Dialect(ABC):
    """How one kind of completion writes a choice.

    Attributes:
        id_prefix: Of the answer's id.
        whole_kind: `object` of a whole answer.
        chunk_kind: `object` of a piece of one.
        opening: The choice of the first chunk, but for its index; None where there is none.
    """

    id_prefix: str
    whole_kind: str
    chunk_kind: str
    opening: JsonObject | None = None

    @abstractmethod
    def chunk(
        self, index: int, text: str, logprobs: Sequence[TokenLogprobs], finish_reason: str | None
    ) -> JsonObject:
        """The choice of a chunk; the last one has a reason and no text."""

    @abstractmethod
    def whole(
        self, index: int, text: str, logprobs: Sequence[TokenLogprobs], finish_reason: str
    ) -> JsonObject:
        """The choice of a whole answer."""


class ChatDialect(Dialect):
    """Choices of `/v1/chat/completions`."""

    id_prefix = "chatcmpl-"
    whole_kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def __init__(self) -> None:
        self.opening = {
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }

    def chunk(
        self, index: int, text: str, logprobs: Sequence[TokenLogprobs], finish_reason: str | None
    ) -> JsonObject:
        """The choice of a chunk."""
        return {
            "index": index,
            "delta": {} if finish_reason else {"content": text},
            "logprobs": _chat_logprobs(logprobs),
            "finish_reason": finish_reason,
        }

    def whole(
        self, index: int, text: str, logprobs: Sequence[TokenLogprobs], finish_reason: str
    ) -> JsonObject:
        """The choice of a whole answer."""
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": _chat_logprobs(logprobs),
            "finish_reason": finish_reason,
        }


class TextDialect(Dialect):
    """Choices of `/v1/completions`."""

    id_prefix = "cmpl-"
    whole_kind = chunk_kind = "text_completion"

    def chunk(
        self, index: int, text: str, logprobs: Sequence[TokenLogprobs], finish_reason: str | None
    ) -> JsonObject:
        """The choice of a chunk."""
        return {
            "index": index,
            "text": text,
            "logprobs": _text_logprobs(logprobs),
            "finish_reason": finish_reason,
        }

    def whole(
        self, index: int, text: str, logprobs: Sequence[TokenLogprobs], finish_reason: str
    ) -> JsonObject:
        """The choice of a whole answer."""
        return self.chunk(index, text, logprobs, finish_reason)


@dataclass(frozen=True, slots=True)
class CompletionHead:
    """What every document of one answer begins with.

    Attributes:
        completion_id: A prefix and the request's id.
        created_at: Seconds since 1970.
        model: Name of the served model.
        fingerprint: Hash of its configuration and weights.
    """

    completion_id: str
    created_at: int
    model: str
    fingerprint: str

    def document(self, kind: str) -> JsonObject:
        """Begin a document."""
        return {
            "id": self.completion_id,
            "object": kind,
            "created": self.created_at,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


@dataclass(slots=True)
class GatheredChoice:
    """One answer, collected."""

    text: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)


class AnswerGatherer:
    """Collects the answers to one request, to be sent whole."""

    def __init__(self, head: CompletionHead, dialect: Dialect, num_choices: int) -> None:
        self._head = head
        self._dialect = dialect
        self._choices = [GatheredChoice() for _ in range(num_choices)]

    def add(self, delta: AnswerDelta) -> None:
        """Take more of an answer."""
        choice = self._choices[delta.choice]
        choice.text.append(delta.text)
        choice.logprobs += delta.logprobs

    def document(self, finished: AnswerFinished) -> bytes:
        """Write all answers."""
        choices = [
            self._dialect.whole(
                index, "".join(choice.text), choice.logprobs, str(end.finish_reason)
            )
            for index, (choice, end) in enumerate(
                zip(self._choices, ends_of(finished), strict=True)
            )
        ]
        whole = self._head.document(self._dialect.whole_kind)
        return encode(whole | {"choices": choices, "usage": usage_of(finished)})


def usage_of(finished: AnswerFinished) -> JsonObject:
    """What a request used: OpenAI's fields, what ViR saved, and where the time went."""
    usage = finished.usage
    prompt = usage.text_tokens + usage.visual_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": prompt + usage.completion_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "text_tokens": usage.text_tokens,
            "image_tokens": usage.visual_tokens,
        },
        "visual_tokens": usage.visual_tokens,
        "visual_tokens_before_resolution": usage.visual_tokens_before_resolution,
        "tiles": usage.tiles,
        "compressed_tiles": usage.compressed_tiles,
        "stage_seconds": {name: round(s, 6) for name, s in asdict(finished.seconds).items()},
    }


def ends_of(finished: AnswerFinished) -> Sequence[ChoiceEnd]:
    """How each answer ended, in order."""
    if finished.choices:
        return finished.choices
    tokens = finished.usage.completion_tokens
    return [ChoiceEnd(finished.finish_reason, tokens, finished.stop)]


def encode(document: JsonObject) -> bytes:
    """Write JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _chat_logprobs(logprobs: Sequence[TokenLogprobs]) -> JsonObject | None:
    if not logprobs:
        return None
    content = [
        _logprob(each.chosen) | {"top_logprobs": [_logprob(token) for token in each.top]}
        for each in logprobs
    ]
    return {"content": content, "refusal": None}


def _logprob(token: TokenLogprob) -> JsonObject:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.text.encode())}


def _text_logprobs(logprobs: Sequence[TokenLogprobs]) -> JsonObject | None:
    if not logprobs:
        return None
    return {
        "tokens": [each.chosen.text for each in logprobs],
        "token_logprobs": [each.chosen.logprob for each in logprobs],
        "top_logprobs": [{token.text: token.logprob for token in each.top} for each in logprobs],
        "text_offset": None,
    }
