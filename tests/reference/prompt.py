"""Conversation to prompt ids, through the checkpoint's own chat template and tokenizer.

The template is rendered with stand-ins for what users wrote, then cut at the template's special
tokens; the users' text is put back and encoded as plain text, whatever it looks like.
"""

import re
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from common.types import Role
from tests.reference.conversation import Message, Pictures, Text, picture_groups

STAND_IN = "\ue000{}\ue001"
IMAGE_START, IMAGE_CONTEXT, IMAGE_END = "<img>", "<IMG_CONTEXT>", "</img>"


@cache
def load_tokenizer(model_dir: Path) -> PreTrainedTokenizerBase:
    """Load the checkpoint's tokenizer."""
    return AutoTokenizer.from_pretrained(model_dir)


def context_id(model_dir: Path) -> int:
    """Look up the id that stands for one visual token."""
    return int(load_tokenizer(model_dir).convert_tokens_to_ids(IMAGE_CONTEXT))


def prompt_ids(
    model_dir: Path, messages: tuple[Message, ...], visual_tokens: tuple[int, ...]
) -> tuple[int, ...]:
    """Encode a conversation.

    Args:
        model_dir: Checkpoint.
        messages: The conversation.
        visual_tokens: For each picture group its number of visual tokens.
    """
    tokenizer = load_tokenizer(model_dir)
    texts: list[str] = []
    turns = [{"role": turn.role.value, "content": _content(turn, texts)} for turn in messages]
    rendered = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    if IMAGE_START not in rendered:
        run = IMAGE_START + IMAGE_CONTEXT + IMAGE_END
        rendered = rendered.replace(IMAGE_CONTEXT, run)
    counts = iter(visual_tokens)
    assert len(visual_tokens) == len(picture_groups(messages))
    plain = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    plain.encode_special_tokens = True
    ids: list[int] = []
    specials = tokenizer.get_added_vocab()
    for piece in re.split("(" + "|".join(map(re.escape, specials)) + ")", rendered):
        if piece in specials:
            ids += [specials[piece]] * (next(counts) if piece == IMAGE_CONTEXT else 1)
        else:
            written = re.sub("\ue000(\\d+)\ue001", lambda match: texts[int(match[1])], piece)
            ids += plain.encode(written, add_special_tokens=False).ids
    return tuple(ids)


def _content(turn: Message, texts: list[str]) -> str | list[dict[str, str]]:
    """Write a turn as the template wants it; only users' turns may hold pictures."""
    items: list[dict[str, str]] = []
    for part in turn.parts:
        if isinstance(part, Pictures):
            items.append({"type": "image"})
        elif isinstance(part, Text):
            items.append({"type": "text", "text": STAND_IN.format(len(texts))})
            texts.append(part.text)
    if turn.role is Role.USER:
        return items
    return "".join(item["text"] for item in items)
