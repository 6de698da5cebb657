"""Which tokens a draw is made from: top-k, then top-p of what that leaves, then min-p.

As in transformers, with one difference: tokens of equal score are kept or left out together, so
that the outcome never depends on the order in which a sort puts them.

Few tokens survive a filter, so only the likeliest `NUM_CANDIDATES` of a row are sorted; a row
whose filters might keep more is done again with the whole vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from common.types import SamplingParameters
from language_service.uploads import upload

NUM_CANDIDATES = 1024
# Of 8 bytes each.
CACHED_ELEMENTS = 1 << 17


@dataclass(frozen=True, slots=True)
class Candidates:
    """Some rows' surviving tokens.

    Attributes:
        rows: [n] int64, which rows.
        token_ids: [n, c] int64, likeliest first.
        scores: [n, c] float64, after temperature; minus infinity for a token that was left out.
    """

    rows: torch.Tensor
    token_ids: torch.Tensor
    scores: torch.Tensor


def row_parts(scores: torch.Tensor) -> Iterator[tuple[int, int]]:
    """Begin and end of runs of rows to work on at a time.

    On a CPU few enough to stay in a core's cache, elsewhere all.
    """
    num_rows, width = scores.shape
    at_a_time = num_rows if scores.is_cuda else max(1, CACHED_ELEMENTS // width)
    for begin in range(0, num_rows, at_a_time):
        yield begin, min(begin + at_a_time, num_rows)


def filtered_candidates(
    scores: torch.Tensor, samplings: Sequence[SamplingParameters]
) -> Iterator[Candidates]:
    """Apply every row's own temperature and filters.

    Args:
        scores: [n, vocabulary] float32, logits before temperature.
        samplings: n of them.

    Yields:
        Every row once, in at most two parts.
    """
    num_tokens = scores.shape[-1]
    limits = _Limits.of(samplings, num_tokens, scores.device)
    rows = torch.arange(len(samplings), device=scores.device)
    totals = _log_totals(scores, limits, samplings)
    first = _filter(scores, totals, limits, rows, min(NUM_CANDIDATES, num_tokens))
    if num_tokens <= NUM_CANDIDATES:
        yield first
        return
    # Where the last candidate survives, tokens beyond it might, too.
    top_k = limits.top_k[:, 0]
    is_cut = first.scores[:, -1].isfinite() | ((top_k > NUM_CANDIDATES) & (top_k < num_tokens))
    whole, cut = rows[~is_cut], rows[is_cut]
    if len(whole):
        yield Candidates(whole, first.token_ids[whole], first.scores[whole])
    if len(cut):
        yield _filter(scores[cut], totals[cut], limits.select(cut), cut, num_tokens)


@dataclass(frozen=True, slots=True)
class _Limits:
    """Temperature and filters of each row, all [n, 1] float64."""

    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    min_p: torch.Tensor

    @staticmethod
    def of(
        samplings: Sequence[SamplingParameters], num_tokens: int, device: torch.device
    ) -> "_Limits":
        """Collect them; a top-k that is off keeps all tokens."""
        values = [
            (each.temperature, min(each.top_k or num_tokens, num_tokens), each.top_p, each.min_p)
            for each in samplings
        ]
        columns = upload(values, torch.float64, device).unbind(1)
        return _Limits(*(column[:, None] for column in columns))

    def select(self, rows: torch.Tensor) -> "_Limits":
        """Those of some rows."""
        return _Limits(self.temperature[rows], self.top_k[rows], self.top_p[rows], self.min_p[rows])


def _log_totals(
    scores: torch.Tensor, limits: _Limits, samplings: Sequence[SamplingParameters]
) -> torch.Tensor:
    """Logarithm of each row's whole probability before it is normalised, [n, 1] float64.

    Anything where no row needs it: top-p does, unless top-k comes before it.
    """
    num_tokens = scores.shape[-1]
    if all(0 < each.top_k < num_tokens or each.top_p >= 1 for each in samplings):
        return torch.zeros_like(limits.temperature)
    return torch.cat(
        [
            (scores[begin:end].double() / limits.temperature[begin:end]).logsumexp(-1, True)
            for begin, end in row_parts(scores)
        ]
    )


def _filter(
    scores: torch.Tensor,
    totals: torch.Tensor,
    limits: _Limits,
    rows: torch.Tensor,
    num_candidates: int,
) -> Candidates:
    """Filter with the sorted likeliest `num_candidates` of each row."""
    likeliest, token_ids = scores.topk(num_candidates, dim=-1)
    scaled = likeliest.double() / limits.temperature
    place = limits.top_k.clamp(1, num_candidates).long() - 1
    kept = (scaled >= scaled.gather(1, place)) | (limits.top_k > num_candidates)
    survivors = scaled.masked_fill(~kept, float("-inf"))
    # Where top-k cuts, only what it leaves shares the probability; without top-p any share will do.
    is_apart = (limits.top_k < scores.shape[-1]) | (limits.top_p >= 1)
    totals = torch.where(is_apart, survivors.logsumexp(dim=-1, keepdim=True), totals)
    probabilities = (survivors - totals).exp()
    before = probabilities.cumsum(dim=-1) - probabilities
    needed = (before < limits.top_p) | (limits.top_p >= 1)
    # The likeliest come first; the last one needed sets the bound for its equals.
    last = needed.sum(dim=-1, keepdim=True).clamp(min=1) - 1
    kept &= survivors >= survivors.gather(1, last)
    kept &= probabilities >= limits.min_p * probabilities[:, :1]
    return Candidates(rows, token_ids, scaled.masked_fill(~kept, float("-inf")))
