"""Chooses the next token of every sequence of a step.

    logits -> biases and penalties -> temperature -> top-k -> top-p -> min-p -> draw

Greedy rows take the largest logit. Other rows use the Gumbel-max rule: the largest of
logits / temperature + noise is a draw from the softmax. The noise is a hash of (seed, output
index, token id), so a request gets the same text alone or in a crowd, on any device, after
preemption, and on a replica that resumes it. A step of greedy rows is one argmax.

On a GPU the host asks for one thing, the tokens, and numbers go there without waiting; only rows
with filters ask once more, whether the likeliest candidates were enough, and log probabilities.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Protocol

import torch

from common.types import SamplingParameters
from language_service.filters import Candidates, filtered_candidates, row_parts
from language_service.logprobs import TokenLogprobs, token_logprobs
from language_service.penalties import PenalisedRow, TokenHistory, add_biases, penalise
from language_service.uploads import upload

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
        token_ids: One a row; `INVALID_TOKEN` for a row with a logit that is infinite or not a
            number. Minus infinity is a number here: a token that cannot be.
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
    likeliest = _argmax(raw)
    chosen = likeliest
    if special:
        # A row at a time would leave the device idle; all special rows go through together.
        drawn = _choose(raw, special, [sequences[i] for i in special])
        chosen = likeliest.index_copy(0, _on_device(special, raw), drawn)
    # What is not a number counts as the largest, so one look at each row's largest is enough.
    largest = raw.gather(1, likeliest[:, None])[:, 0]
    return SampledTokens(_fetch(chosen, largest), _logprobs(raw, chosen, sequences, special))


def _fetch(chosen: torch.Tensor, largest: torch.Tensor) -> list[int]:
    """The tokens, but for rows whose largest logit is none; in one copy from a device."""
    if chosen.is_cuda:
        fetched: list[int] = chosen.masked_fill(~largest.isfinite(), INVALID_TOKEN).tolist()
        return fetched
    return [
        token_id if isfinite(logit) else INVALID_TOKEN
        for token_id, logit in zip(chosen.tolist(), largest.tolist(), strict=True)
    ]


def _argmax(scores: torch.Tensor) -> torch.Tensor:
    """Index of each row's largest element, the first of several."""
    if scores.device.type == "cpu":
        # NumPy compares many elements at a time, torch one: ten times the speed.
        return torch.from_numpy(scores.numpy().argmax(axis=-1))
    return scores.argmax(dim=-1)


def _choose(
    raw: torch.Tensor, rows: Sequence[int], sequences: Sequence[SampledSequence]
) -> torch.Tensor:
    """Tokens of the rows that are not plainly greedy, [n] int64."""
    scores = _adjusted(_select(raw, rows), sequences)
    samplings = [each.sampling for each in sequences]
    seeds = [noise_start(each.sampling.seed, len(each.output_ids)) for each in sequences]
    starts = _on_device(seeds, raw)
    chosen = torch.empty(len(rows), dtype=torch.int64, device=raw.device)
    greedy = [i for i, each in enumerate(samplings) if each.temperature == 0]
    free = [i for i, each in enumerate(samplings) if each.temperature and not each.has_filters]
    filtered = [i for i, each in enumerate(samplings) if each.temperature and each.has_filters]
    if greedy:
        chosen.index_copy_(0, _on_device(greedy, raw), _argmax(_select(scores, greedy)))
    if free:
        temperatures = [samplings[i].temperature for i in free]
        drawn = _draw(_select(scores, free), temperatures, _select(starts, free))
        chosen.index_copy_(0, _on_device(free, raw), drawn)
    if filtered:
        of_rows, places = [samplings[i] for i in filtered], _on_device(filtered, raw)
        for part in filtered_candidates(_select(scores, filtered), of_rows):
            rows_of_part = places[part.rows]
            chosen.index_copy_(0, rows_of_part, _draw_among(part, starts[rows_of_part]))
    return chosen


def _select(scores: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Some rows, in order; all of them without a copy."""
    if len(rows) == len(scores):
        return scores
    return scores[_on_device(rows, scores)]


def _on_device(values: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    return upload(values, torch.int64, like.device)


def _adjusted(scores: torch.Tensor, sequences: Sequence[SampledSequence]) -> torch.Tensor:
    """Scores with biases and penalties; a copy where there are any."""
    biases = {i: s.sampling.logit_bias for i, s in enumerate(sequences) if s.sampling.logit_bias}
    penalised = [i for i, each in enumerate(sequences) if each.sampling.has_penalties]
    if not biases and not penalised:
        return scores
    scores = scores.clone()
    if biases:
        add_biases(scores, biases)
    if penalised:
        penalise(scores, [_penalised_row(i, sequences[i]) for i in penalised])
    return scores


def _penalised_row(index: int, sequence: SampledSequence) -> PenalisedRow:
    sequence.history.catch_up(sequence.output_ids)
    return PenalisedRow(index, sequence.sampling, sequence.history)


def _draw(
    scores: torch.Tensor, temperatures: Sequence[float], starts: torch.Tensor
) -> torch.Tensor:
    """Draw from each row's whole distribution: [n] int64."""
    tokens = torch.arange(scores.shape[-1], device=scores.device)[None]
    divisors = upload(temperatures, torch.float64, scores.device)[:, None]
    drawn = []
    for begin, end in row_parts(scores):
        # In float64, so that even the rarest token of a large vocabulary has its chance.
        scaled = scores[begin:end].double().div_(divisors[begin:end])
        drawn.append(_argmax(scaled.add_(gumbel_noise(starts[begin:end], tokens))))
    return torch.cat(drawn)


def _draw_among(candidates: Candidates, starts: torch.Tensor) -> torch.Tensor:
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
    index = _on_device(list(wanted), raw)
    rows = token_logprobs(raw[index], chosen[index], list(wanted.values()))
    return dict(zip(wanted, rows, strict=True))


def noise_start(seed: int, output_index: int) -> int:
    """State of the noise generator before token 0, a hash of seed and output index."""
    start = hashlib.blake2b(struct.pack("<QQ", seed, output_index), digest_size=8).digest()
    return int.from_bytes(start, "little", signed=True)


def gumbel_noise(starts: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise, [n, tokens] float64.

    The integers are those of the SplitMix64 generator (Steele, Lea and Flood, 2014), started at
    `starts`, one step a token id; they are the same on every device and for every choice of tokens.

    Args:
        starts: [n] int64, each from `noise_start`.
        token_ids: [n or 1, tokens] int64.
    """
    state = (token_ids + 1) * _GOLDEN_GAMMA
    state = state + starts[:, None]
    state.bitwise_xor_(_shift_right(state, 30)).mul_(_MIX_1)
    state.bitwise_xor_(_shift_right(state, 27)).mul_(_MIX_2)
    state.bitwise_xor_(_shift_right(state, 31))
    uniform = _shift_right(state, 11).double().add_(0.5).mul_(2.0**-53)
    return uniform.log_().neg_().log_().neg_()


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _shift_right(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical shift; int64 has only the arithmetic one."""
    return (values >> bits).bitwise_and_((1 << (64 - bits)) - 1)


_GOLDEN_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)
