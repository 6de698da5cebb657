"""How many answers of a training batch are right, by kind: what the progress bars show."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from training.batches import Batch, PictureQuestions


def exact_by_kind(
    batch: Batch, asked: Sequence[PictureQuestions], named: torch.Tensor
) -> Mapping[str, float]:
    """Share of conversations whose every answer token is right, overall and by kind.

    Args:
        batch: The batch.
        asked: What is in it.
        named: [n] tokens that the model would say, in the order of the batch's `answers`.
    """
    branches = [turns for questions in asked for turns in questions.branches]
    wrong = torch.bincount(
        batch.answer_branches, weights=(named != batch.answers).float(), minlength=len(branches)
    )
    right: dict[str, list[bool]] = defaultdict(list)
    for turns, errors in zip(branches, wrong.tolist(), strict=True):
        right["all"].append(errors == 0)
        right[turns[-1].kind].append(errors == 0)
    return {kind: sum(each) / len(each) for kind, each in right.items()}
