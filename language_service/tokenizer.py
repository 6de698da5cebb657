"""Conversations to token ids, and token ids to text.

Control tokens are looked for in what the chat template wrote and nowhere else, so no text can
forge a picture or end a turn. Between two control tokens, the template's text and the users' are
joined before they are tokenised, so the ids are those of the whole string.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel

from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.errors import CheckpointError, InvalidRequestError
from common.types import Role
from language_service import harmony_template
from language_service.chat_template import (
    IMAGE_CONTEXT,
    IMAGE_END,
    IMAGE_START,
    TemplateText,
)
from language_service.detokenizer import Detokenizer
from language_service.generation_defaults import load_generation_defaults
from language_service.prompt import ImageSegment, PromptLayout, TextSegment
from language_service.tokenizer_files import load_template, load_tokenizer

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"

# What `chat()` of the original code puts in front; the checkpoints' own templates do not.
ORIGINAL_SYSTEM_MESSAGE = (
    "你是书生·万象，英文名是InternVL，"
    "是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)

# Texts of single tokens that are remembered.
MAX_KNOWN_TEXTS = 1 << 15

_PROBE = " Where is\n\nthe  cat? \n"


class ChatTokenizer:
    """Tokenizer and chat template of one checkpoint.

    Args:
        directory: Holds the tokenizer's files and the template.
        system_message: Put in front of conversations that have none.

    Attributes:
        vocabulary_size: One past the largest token id.
        eos_token_ids: Tokens that end an answer: those of the generation configuration, the
            tokenizer's own and the end of a turn.
        sampling_defaults: The checkpoint's.

    Raises:
        CheckpointError: Files are missing or of a kind that is not supported.
    """

    def __init__(self, directory: Path, system_message: str | None = None) -> None:
        tokenizer = load_tokenizer(directory)
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        is_harmony = harmony_template.uses_harmony(directory, tokenizer.get_added_vocab())
        self._template = load_template(directory, tokenizer)
        self._known_text = lru_cache(maxsize=MAX_KNOWN_TEXTS)(lambda each: self.decode((each,)))
        # That format has a system message of its own.
        self._system = () if is_harmony else _system_prefix(system_message)
        self._control_ids = _control_ids(tokenizer)
        longest_first = sorted(self._control_ids, key=len, reverse=True)
        self._control = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
        self._plain = _without_control(self._backend, set(self._control_ids))
        self.vocabulary_size = max(tokenizer.get_vocab().values()) + 1
        defaults = load_generation_defaults(directory)
        self.sampling_defaults = defaults.sampling
        turn_ends = harmony_template.ANSWER_ENDS if is_harmony else (TURN_END,)
        ends = {tokenizer.eos_token_id, *map(self._control_ids.get, turn_ends)} - {None}
        self.eos_token_ids = defaults.eos_token_ids | ends
        self._check_joins()

    def layout(self, messages: Sequence[PromptMessage]) -> PromptLayout:
        """Tokenise a conversation, the answer opened; what nobody says, as it stands.

        Raises:
            InvalidRequestError: The chat template cannot express it.
        """
        if len(messages) == 1 and messages[0].role is Role.NOBODY:
            return self._bare_layout(messages[0])
        if not messages or messages[0].role is not Role.SYSTEM:
            messages = (*self._system, *messages)
        writer = _LayoutWriter(self._plain, frozenset(self._control_ids.values()))
        for piece in self._template.pieces(messages):
            if isinstance(piece, TextPart):
                writer.text(piece.text)
            elif isinstance(piece, TemplateText):
                for position, text in enumerate(self._control.split(piece.text)):
                    if position % 2:
                        writer.control(self._control_ids[text])
                    else:
                        writer.text(text)
            else:
                self._write_images(writer, piece)
        return writer.finish()

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of tokens, special ones left out."""
        return self._backend.decode(list(token_ids), skip_special_tokens=True)

    def token_text(self, token_id: int) -> str:
        """Text of one token alone, special or not; parts of characters show as U+FFFD."""
        return self._backend.decode([token_id], skip_special_tokens=False)

    def detokenizer(self) -> Detokenizer:
        """Start the text of a new answer."""
        joins = isinstance(self._backend.decoder, ByteLevel)
        return Detokenizer(self.decode, self._known_text if joins else None)

    def _bare_layout(self, message: PromptMessage) -> PromptLayout:
        writer = _LayoutWriter(self._plain, frozenset(self._control_ids.values()))
        for part in message.parts:
            if isinstance(part, TextPart):
                writer.text(part.text)
            else:
                self._write_images(writer, part)
        return writer.finish()

    def _write_images(self, writer: "_LayoutWriter", group: ImageGroupPart) -> None:
        writer.control(self._control_ids[IMAGE_START])
        for image_index in group.image_indexes:
            writer.image(image_index)
        writer.control(self._control_ids[IMAGE_END])

    def _check_joins(self) -> None:
        """Make sure, once, that tokenising run by run equals tokenising the whole string."""
        message = PromptMessage(Role.USER, (TextPart(_PROBE),))
        pieces = self._template.pieces((*self._system, message, message))
        whole = "".join(piece.text for piece in pieces if not isinstance(piece, ImageGroupPart))
        segments = self.layout((message, message)).segments
        ids = [
            i for segment in segments if isinstance(segment, TextSegment) for i in segment.token_ids
        ]
        if ids != self._backend.encode(whole, add_special_tokens=False).ids:
            raise CheckpointError("The tokenizer splits text around control tokens; not supported.")


class _LayoutWriter:
    """Collects text until a control token or a picture, then tokenises it in one go."""

    def __init__(self, plain: Tokenizer, control_ids: frozenset[int]) -> None:
        self._plain = plain
        self._control_ids = control_ids
        self._pending: list[str] = []
        self._token_ids: list[int] = []
        self._segments: list[TextSegment | ImageSegment] = []

    def text(self, text: str) -> None:
        """Add plain text."""
        self._pending.append(text)

    def control(self, token_id: int) -> None:
        """Add a control token."""
        self._tokenize()
        self._token_ids.append(token_id)

    def image(self, image_index: int) -> None:
        """Add the place of a picture."""
        self._close()
        self._segments.append(ImageSegment(image_index))

    def finish(self) -> PromptLayout:
        """Everything added."""
        self._close()
        return PromptLayout(tuple(self._segments))

    def _tokenize(self) -> None:
        if not self._pending:
            return
        ids = self._plain.encode("".join(self._pending), add_special_tokens=False).ids
        # Some tokenizers hold their control tokens among the ordinary words.
        if not self._control_ids.isdisjoint(ids):
            raise InvalidRequestError("A text holds a control token of the model.", "messages")
        self._pending.clear()
        self._token_ids.extend(ids)

    def _close(self) -> None:
        self._tokenize()
        if self._token_ids:
            self._segments.append(TextSegment(tuple(self._token_ids)))
            self._token_ids.clear()


def _control_ids(tokenizer: Any) -> dict[str, int]:
    """Every token that must never come from text: special ones, and those of turns and images."""
    named = {IMAGE_START, IMAGE_CONTEXT, IMAGE_END, TURN_START, TURN_END}
    named.update(harmony_template.CONTROL_TOKENS)
    control = {
        token.content: token_id
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content in named
    }
    for content in (IMAGE_START, IMAGE_CONTEXT, IMAGE_END):
        if content not in control:
            raise CheckpointError(f"The tokenizer has no token {content}.")
    return control


def _without_control(backend: Tokenizer, control: set[str]) -> Tokenizer:
    """A copy that takes control tokens in a text for ordinary characters."""
    state = json.loads(backend.to_str())
    for token in state["added_tokens"]:
        token["special"] = token["content"] in control
    plain = Tokenizer.from_str(json.dumps(state))
    plain.encode_special_tokens = True
    plain.no_truncation()
    plain.no_padding()
    return plain


def _system_prefix(system_message: str | None) -> tuple[PromptMessage, ...]:
    if system_message is None:
        return ()
    return (PromptMessage(Role.SYSTEM, (TextPart(system_message),)),)
