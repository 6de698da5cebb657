"""A greedy answer of a checkpoint in the transformers layout, by transformers' own model."""

from functools import cache
from pathlib import Path

import torch
from transformers import InternVLForConditionalGeneration

from tests.reference.conversation import Message, PictureAnswer, ReferenceAnswer, picture_groups
from tests.reference.greedy import Question, answer_greedily
from tests.reference.prompt import prompt_ids
from tests.reference.tiles import cut


@cache
def load_plain_model(model_dir: Path) -> InternVLForConditionalGeneration:
    """Load a checkpoint once, in float32."""
    model = InternVLForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32)
    return model.eval()


def answer(model_dir: Path, messages: tuple[Message, ...], max_tokens: int) -> ReferenceAnswer:
    """Answer a conversation.

    Args:
        model_dir: Checkpoint in the transformers layout.
        messages: The conversation.
        max_tokens: Answer length limit.
    """
    model = load_plain_model(model_dir)
    groups = picture_groups(messages)
    pictures = [[cut(model_dir, file) for file in group.files] for group in groups]
    tokens_per_tile = model.config.image_seq_length
    tiles = [sum(len(picture.pixels) for picture in group) for group in pictures]
    ids = prompt_ids(model_dir, messages, tuple(tokens_per_tile * count for count in tiles))
    inputs = torch.tensor([ids])
    asked = {"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}
    if pictures:
        asked["pixel_values"] = torch.cat([p.pixels for group in pictures for p in group])
    facts = tuple(
        PictureAnswer(
            picture.columns,
            picture.rows,
            len(picture.pixels) > 1,
            (),
            (False,) * len(picture.pixels),
        )
        for group in pictures
        for picture in group
    )
    return answer_greedily(model, asked, Question(model_dir, ids, facts, max_tokens))
