"""Runs a checkpoint's chat template over a conversation without showing it what users wrote.

The template is Jinja code from the checkpoint. Every piece of user text is a sentinel to it, so
it can neither change the text nor be steered by it; what comes out is cut at the sentinels and at
the image markers that the template wrote.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import jinja2

from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.errors import CheckpointError, InvalidRequestError
from common.types import Role

IMAGE_START, IMAGE_CONTEXT, IMAGE_END = "<img>", "<IMG_CONTEXT>", "</img>"

# Characters for private use around a number; user text is never searched for them.
_SENTINEL = "\ue000{}\ue001"
# A slot is marked with or without start and end tokens; both spellings are published.
_CUT = re.compile(
    "\ue000(?P<text>[0-9]+)\ue001"
    f"|(?:{re.escape(IMAGE_START)})?{re.escape(IMAGE_CONTEXT)}(?:{re.escape(IMAGE_END)})?"
)

_PROBE = PromptMessage(Role.USER, (TextPart(""), ImageGroupPart((0,)), TextPart("")))


@dataclass(frozen=True, slots=True)
class TemplateText:
    """Text that the template wrote; control tokens in it count."""

    text: str


Piece = TemplateText | TextPart | ImageGroupPart


class ChatTemplate:
    """A conversation in, an ordered list of pieces out.

    Args:
        render: Applies the template, with the answer opened, to messages as transformers passes
            them: dictionaries of `role` and `content`.

    Raises:
        CheckpointError: The template takes neither lists nor strings as content.
    """

    def __init__(self, render: Callable[[list[dict[str, object]]], str]) -> None:
        self._render = render
        for self._content in (_list_content, _string_content):
            try:
                self.pieces((_PROBE,))
            except InvalidRequestError:
                continue
            return
        raise CheckpointError("The chat template cannot express text around a picture.")

    def pieces(self, messages: Sequence[PromptMessage]) -> list[Piece]:
        """Write a conversation.

        Raises:
            InvalidRequestError: The template refuses it, or loses or doubles a part of it.
        """
        parts = [part for message in messages for part in message.parts]
        texts = {number: part for number, part in enumerate(parts) if isinstance(part, TextPart)}
        groups = deque(part for part in parts if isinstance(part, ImageGroupPart))
        rendered = self._rendered(messages)
        pieces: list[Piece] = []
        end = 0
        for cut in _CUT.finditer(rendered):
            pieces.append(TemplateText(rendered[end : cut.start()]))
            part: TextPart | ImageGroupPart | None
            if cut["text"]:
                part = texts.pop(int(cut["text"]), None)
            else:
                part = groups.popleft() if groups else None
            if part is None:
                raise _refused("doubles a part of")
            pieces.append(part)
            end = cut.end()
        if texts or groups:
            raise _refused("has no place for a part of")
        return [*pieces, TemplateText(rendered[end:])]

    def _rendered(self, messages: Sequence[PromptMessage]) -> str:
        numbers = count()
        conversation: list[dict[str, object]] = []
        for message in messages:
            marks = [_mark(part, next(numbers)) for part in message.parts]
            conversation.append({"role": message.role.value, "content": self._content(marks)})
        try:
            return self._render(conversation)
        except (jinja2.TemplateError, TypeError, ValueError) as cause:
            raise _refused("refuses") from cause


def _mark(part: TextPart | ImageGroupPart, number: int) -> str | None:
    """What stands for a part in the template's eyes: a sentinel, or None for pictures."""
    return _SENTINEL.format(number) if isinstance(part, TextPart) else None


def _list_content(marks: list[str | None]) -> object:
    return [{"type": "image"} if mark is None else {"type": "text", "text": mark} for mark in marks]


def _string_content(marks: list[str | None]) -> object:
    """For templates that know neither lists nor pictures; the line break is theirs elsewhere."""
    return "".join(f"{IMAGE_CONTEXT}\n" if mark is None else mark for mark in marks)


def _refused(what: str) -> InvalidRequestError:
    return InvalidRequestError(f"The model's chat template {what} this conversation.", "messages")
