"""How many answers of a training batch are right, by kind: what the progress bars show."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from training.batches import NO_LABEL, Batch, PictureQuestions


def exact_by_kind(
    batch: Batch, asked: Sequence[PictureQuestions], named: torch.Tensor
) -> Mapping[str, float]:
    """Share of conversations whose every answer token is right, overall and by kind.

    Args:
        batch: The batch.
        asked: What is in it.
        named: [n] tokens that the model would say, in the order of `answer_tokens`.
    """
    wanted = batch.labels != NO_LABEL
    wrong = torch.zeros_like(wanted)
    wrong[wanted] = named != batch.labels[wanted]
    right: dict[str, list[bool]] = defaultdict(list)
    for row, questions in enumerate(asked):
        for number, turns in enumerate(questions.branches, start=1):
            exact = not bool(wrong[row, batch.branches[row] == number].any())
            right["all"].append(exact)
            right[turns[-1].kind].append(exact)
    return {kind: sum(each) / len(each) for kind, each in right.items()}
