"""Greedy decoding through `generate` of transformers, and what is reported of it."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tests.reference.conversation import PictureAnswer, ReferenceAnswer
from tests.reference.prompt import context_id, load_tokenizer


@dataclass(frozen=True, slots=True)
class Question:
    """What an answer repeats of its question.

    Attributes:
        model_dir: Checkpoint, for its tokenizer and its end token.
        prompt_ids: The whole prompt.
        pictures: In request order.
        max_tokens: Answer length limit.
    """

    model_dir: Path
    prompt_ids: tuple[int, ...]
    pictures: tuple[PictureAnswer, ...]
    max_tokens: int


@torch.no_grad()
def answer_greedily(
    model: PreTrainedModel, asked: dict[str, torch.Tensor], question: Question
) -> ReferenceAnswer:
    """Decode one token at a time, the likeliest each time, up to the checkpoint's end token.

    Args:
        model: With `generate`.
        asked: Its inputs, a batch of one.
        question: What was asked.
    """
    directory = question.model_dir
    generation = json.loads((directory / "generation_config.json").read_text())
    end = generation["eos_token_id"]
    output = model.generate(
        **asked,
        do_sample=False,
        max_new_tokens=question.max_tokens,
        eos_token_id=end,
        pad_token_id=generation["pad_token_id"],
        output_logits=True,
        return_dict_in_generate=True,
    )
    token_ids = output.sequences[0, -len(output.logits) :].tolist()
    best = torch.cat(output.logits).topk(2).values
    stopped = token_ids[-1] == end
    answered = tuple(token_ids[:-1] if stopped else token_ids)
    return ReferenceAnswer(
        token_ids=answered,
        text=load_tokenizer(directory).decode(list(answered), skip_special_tokens=True),
        stopped=stopped,
        prompt_ids=question.prompt_ids,
        num_visual_tokens=question.prompt_ids.count(context_id(directory)),
        pictures=question.pictures,
        smallest_margin=float((best[:, 0] - best[:, 1]).min()),
    )
