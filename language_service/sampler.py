"""Chooses the next token of every sequence of a step.

    logits -> biases and penalties -> temperature -> top-k -> top-p -> min-p -> draw

Greedy rows take the largest logit. Other rows use the Gumbel-max rule: the largest of
logits / temperature + noise is a draw from the softmax. The noise is a hash of (seed, output
index, token id), so a request gets the same text alone or in a crowd, on any device, after
preemption, and on a replica that resumes it. A step of greedy rows is one argmax.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from common.types import SamplingParameters
from language_service.filters import Candidates, filtered_candidates
from language_service.logprobs import TokenLogprobs, token_logprobs
from language_service.penalties import PenalisedRow, TokenHistory, add_biases, penalise

INVALID_TOKEN = -1


class SampledSequence(Protocol):
    """What the sampler reads of a sequence."""

    @property
    def sampling(self) -> SamplingParameters:
        """How its tokens are chosen."""

    @property
    def is_plain_greedy(self) -> bool:
        """As `sampling` says; read for every row of every step."""

    @property
    def output_ids(self) -> list[int]:
        """Answer tokens so far."""

    @property
    def history(self) -> TokenHistory:
        """Of its prompt and answer; brought up to date here, and only where penalties ask."""


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """The outcome of a step.

    Attributes:
        token_ids: One a row; `INVALID_TOKEN` for a row whose logits are not all finite.
        logprobs: By row, for those that asked.
    """

    token_ids: list[int]
    logprobs: dict[int, TokenLogprobs] = field(default_factory=dict)


def sample(logits: torch.Tensor, sequences: Sequence[SampledSequence]) -> SampledTokens:
    """Choose one token a row.

    Args:
        logits: [n, vocabulary], any floating type.
        sequences: n of them, each with the row at its place.
    """
    raw = logits.float()
    special = [i for i, each in enumerate(sequences) if not each.is_plain_greedy]
    chosen = raw.argmax(dim=-1)
    if special:
        # A row at a time would leave the device idle; all special rows go through together.
        index = torch.tensor(special, device=raw.device)
        chosen[index] = _choose(raw[index], [sequences[i] for i in special])
    # Logits are far from the largest float, so their sum is finite if and only if they all are.
    valid = torch.where(raw.sum(dim=-1).isfinite(), chosen, INVALID_TOKEN)
    return SampledTokens(valid.tolist(), _logprobs(raw, chosen, sequences, special))


def _choose(scores: torch.Tensor, sequences: Sequence[SampledSequence]) -> torch.Tensor:
    """Tokens of rows that are not plainly greedy, [n] int64; `scores` is overwritten."""
    add_biases(scores, {i: each.sampling.logit_bias for i, each in enumerate(sequences)})
    penalised = [i for i, each in enumerate(sequences) if each.sampling.has_penalties]
    if penalised:
        penalise(scores, [_penalised_row(i, sequences[i]) for i in penalised])
    chosen = scores.argmax(dim=-1)
    for with_filters in (False, True):
        rows = [
            i
            for i, each in enumerate(sequences)
            if each.sampling.temperature > 0 and each.sampling.has_filters is with_filters
        ]
        if rows:
            index = torch.tensor(rows, device=scores.device)
            chosen[index] = _draw(scores[index], [sequences[i] for i in rows], with_filters)
    return chosen


def _penalised_row(index: int, sequence: SampledSequence) -> PenalisedRow:
    sequence.history.catch_up(sequence.output_ids)
    return PenalisedRow(index, sequence.sampling, sequence.history)


def _draw(
    scores: torch.Tensor, sequences: Sequence[SampledSequence], with_filters: bool
) -> torch.Tensor:
    """Draw from each row's distribution: [n] int64."""
    # In float64, so that even the rarest token of a large vocabulary has its chance.
    temperatures = [each.sampling.temperature for each in sequences]
    scaled = scores.double() / torch.tensor(temperatures, device=scores.device)[:, None]
    starts = [noise_start(each.sampling.seed, len(each.output_ids)) for each in sequences]
    if not with_filters:
        tokens = torch.arange(scores.shape[-1], device=scores.device)[None]
        return (scaled + gumbel_noise(starts, tokens)).argmax(dim=-1)
    chosen = torch.empty(len(sequences), dtype=torch.int64, device=scores.device)
    for part in filtered_candidates(scaled, [each.sampling for each in sequences]):
        chosen[part.rows] = _draw_among(part, [starts[i] for i in part.rows.tolist()])
    return chosen


def _draw_among(candidates: Candidates, starts: Sequence[int]) -> torch.Tensor:
    noisy = candidates.scores + gumbel_noise(starts, candidates.token_ids)
    return candidates.token_ids.gather(1, noisy.argmax(dim=-1, keepdim=True))[:, 0]


def _logprobs(
    raw: torch.Tensor,
    chosen: torch.Tensor,
    sequences: Sequence[SampledSequence],
    special: Sequence[int],
) -> dict[int, TokenLogprobs]:
    wanted = {
        i: number
        for i in special
        if (number := sequences[i].sampling.num_logprobs) is not None
    }  # fmt: skip
    if not wanted:
        return {}
    index = torch.tensor(list(wanted), device=raw.device)
    rows = token_logprobs(raw[index], chosen[index], list(wanted.values()))
    return dict(zip(wanted, rows, strict=True))


def noise_start(seed: int, output_index: int) -> int:
    """State of the noise generator before token 0, a hash of seed and output index."""
    start = hashlib.blake2b(struct.pack("<QQ", seed, output_index), digest_size=8).digest()
    return int.from_bytes(start, "little", signed=True)


def gumbel_noise(starts: Sequence[int], token_ids: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise, [n, tokens] float64.

    The integers are those of the SplitMix64 generator (Steele, Lea and Flood, 2014), started at
    `starts`, one step a token id; they are the same on every device and for every choice of tokens.

    Args:
        starts: n states, from `noise_start`.
        token_ids: [n or 1, tokens] int64.
    """
    state = (token_ids + 1) * _GOLDEN_GAMMA
    state = state + torch.tensor(starts, dtype=torch.int64, device=token_ids.device)[:, None]
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
