"""Log probabilities of the chosen and of the likeliest tokens.

Taken from the model's own logits in float32, before biases, penalties and temperature: they say
what the model thinks, whatever sampling makes of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability."""

    token_id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log probabilities at one place of an answer.

    Attributes:
        chosen: The token that the answer has there.
        top: The likeliest tokens, likeliest first.
    """

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


def token_logprobs(
    logits: torch.Tensor, chosen: torch.Tensor, num_top: Sequence[int]
) -> list[TokenLogprobs]:
    """Log probabilities, row by row.

    Args:
        logits: [n, vocabulary] float32, as the model gave them.
        chosen: [n] int64, ids of the chosen tokens.
        num_top: How many likeliest tokens each row reports.
    """
    logprobs = logits.log_softmax(dim=-1)
    picked = logprobs.gather(1, chosen[:, None])[:, 0].tolist()
    top = logprobs.topk(min(max(num_top), logprobs.shape[-1]), dim=-1)
    values, ids = top.values.tolist(), top.indices.tolist()
    return [
        TokenLogprobs(
            TokenLogprob(token_id, picked[row]),
            tuple(map(TokenLogprob, ids[row][: num_top[row]], values[row][: num_top[row]])),
        )
        for row, token_id in enumerate(chosen.tolist())
    ]
