"""Chooses the next token of every sequence of a step.

Greedy rows take the largest logit. Other rows use the Gumbel-max rule: the largest of
logits / temperature + noise is a draw from the softmax. The noise is a hash of (seed, output
index, token id), so a request gets the same text alone or in a crowd, on any device, and on a
replica that resumes it.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch

INVALID_TOKEN = -1


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """How one row of logits becomes a token.

    Attributes:
        temperature: 0 for greedy.
        seed: Of the request.
        output_index: Answer tokens before this one.
    """

    temperature: float
    seed: int
    output_index: int


def sample(logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[int]:
    """Choose one token a row.

    Args:
        logits: [n, vocabulary], any floating type.
        rows: n of them.

    Returns:
        Token ids; `INVALID_TOKEN` for a row whose logits are not all finite.
    """
    scores = logits.float()
    finite = scores.isfinite().all(dim=-1)
    drawn = [index for index, row in enumerate(rows) if row.temperature > 0]
    if drawn:
        scores = scores.clone()
        for index in drawn:
            row = rows[index]
            # In float64, so that even the rarest token of a large vocabulary has its chance.
            noise = gumbel_noise(row.seed, row.output_index, scores.shape[-1], scores.device)
            scores[index] = (scores[index].double() / row.temperature + noise).float()
    chosen = torch.where(finite, scores.argmax(dim=-1), INVALID_TOKEN)
    return [int(token_id) for token_id in chosen.tolist()]


def gumbel_noise(
    seed: int, output_index: int, vocabulary_size: int, device: torch.device
) -> torch.Tensor:
    """Standard Gumbel noise for every token, [vocabulary] float64.

    The integers are those of the SplitMix64 generator (Steele, Lea and Flood, 2014), started at a
    hash of seed and output index, one step a token; they are the same on every device.
    """
    start = hashlib.blake2b(struct.pack("<QQ", seed, output_index), digest_size=8).digest()
    state = torch.arange(1, vocabulary_size + 1, device=device)
    state = state * _GOLDEN_GAMMA + int.from_bytes(start, "little", signed=True)
    state = (state ^ _shift_right(state, 30)) * _MIX_1
    state = (state ^ _shift_right(state, 27)) * _MIX_2
    state = state ^ _shift_right(state, 31)
    uniform = (_shift_right(state, 11).double() + 0.5) * 2.0**-53
    return -(-uniform.log()).log()


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _shift_right(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical shift; int64 has only the arithmetic one."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


_GOLDEN_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)
