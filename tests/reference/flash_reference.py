"""A greedy answer of a checkpoint in the original layout, Flash or not, with its decisions."""

from pathlib import Path

import torch

from common.types import ResolutionScope
from tests.reference.conversation import Message, PictureAnswer, ReferenceAnswer, picture_groups
from tests.reference.flash_model import load_flash_model
from tests.reference.greedy import Question, answer_greedily
from tests.reference.prompt import context_id, prompt_ids
from tests.reference.tiles import cut


def answer(
    model_dir: Path, messages: tuple[Message, ...], max_tokens: int, scope: ResolutionScope
) -> ReferenceAnswer:
    """Answer a conversation.

    Args:
        model_dir: Checkpoint in the original layout; without a gate nothing is compressed.
        messages: The conversation.
        max_tokens: Answer length limit.
        scope: Of the resolution rule.
    """
    model = load_flash_model(model_dir)
    groups = picture_groups(messages)
    pictures = [cut(model_dir, file) for group in groups for file in group.files]
    features = [[model.features(tile) for tile in picture.pixels] for picture in pictures]
    scores = [[model.score(x) if model.has_gate else 0.0 for x in tiles] for tiles in features]
    masks = model.masks(scores, scope)
    embeddings = iter(
        torch.cat([model.embedding(x, flag) for x, flag in zip(tiles, mask, strict=True)])
        for tiles, mask in zip(features, masks, strict=True)
    )
    runs = [torch.cat([next(embeddings) for _ in group.files]) for group in groups]
    ids = prompt_ids(model_dir, messages, tuple(len(run) for run in runs))
    inputs = torch.tensor([ids])
    with torch.no_grad():
        embedded = model.language.model.embed_tokens(inputs)
        if runs:
            embedded[inputs == context_id(model_dir)] = torch.cat(runs)
    facts = tuple(
        PictureAnswer(
            picture.columns,
            picture.rows,
            len(picture.pixels) > 1,
            tuple(score) if model.has_gate else (),
            tuple(mask),
        )
        for picture, score, mask in zip(pictures, scores, masks, strict=True)
    )
    asked = {"inputs_embeds": embedded, "attention_mask": torch.ones_like(inputs)}
    return answer_greedily(model.language, asked, Question(model_dir, ids, facts, max_tokens))
