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

NUM_CANDIDATES = 1024


@dataclass(frozen=True, slots=True)
class Candidates:
    """Some rows' surviving tokens.

    Attributes:
        rows: [n] int64, which rows.
        token_ids: [n, c] int64, likeliest first.
        scores: [n, c] float64; minus infinity for a token that was left out.
    """

    rows: torch.Tensor
    token_ids: torch.Tensor
    scores: torch.Tensor


def filtered_candidates(
    scaled: torch.Tensor, samplings: Sequence[SamplingParameters]
) -> Iterator[Candidates]:
    """Apply every row's own filters.

    Args:
        scaled: [n, vocabulary] float64, logits after temperature.
        samplings: n of them.

    Yields:
        Every row once, in at most two parts.
    """
    num_tokens = scaled.shape[-1]
    limits = torch.tensor(
        [(each.top_k or num_tokens, each.top_p, each.min_p) for each in samplings],
        dtype=torch.float64,
        device=scaled.device,
    )
    rows = torch.arange(len(samplings), device=scaled.device)
    first = _filter(scaled, limits, rows, min(NUM_CANDIDATES, num_tokens))
    if num_tokens <= NUM_CANDIDATES:
        yield first
        return
    # Where the last candidate survives, tokens beyond it might, too.
    top_k = limits[:, 0]
    is_cut = first.scores[:, -1].isfinite() | ((top_k > NUM_CANDIDATES) & (top_k < num_tokens))
    for part, is_whole in ((rows[~is_cut], False), (rows[is_cut], True)):
        if not len(part):
            continue
        if is_whole:
            yield _filter(scaled[part], limits[part], part, num_tokens)
        else:
            yield Candidates(part, first.token_ids[part], first.scores[part])


def _filter(
    scaled: torch.Tensor, limits: torch.Tensor, rows: torch.Tensor, num_candidates: int
) -> Candidates:
    """Filter with the sorted likeliest `num_candidates` of each row."""
    scores, token_ids = scaled.topk(num_candidates, dim=-1)
    top_k, top_p, min_p = (limit[:, None] for limit in limits.unbind(1))
    place = top_k.clamp(1, num_candidates).long() - 1
    kept = (scores >= scores.gather(1, place)) | (top_k > num_candidates)
    survivors = scores.masked_fill(~kept, float("-inf"))
    # Where top-k cuts, only what it leaves shares the probability.
    everything = scaled.logsumexp(dim=-1, keepdim=True)
    total = torch.where(
        top_k < scaled.shape[-1], survivors.logsumexp(dim=-1, keepdim=True), everything
    )
    probabilities = (survivors - total).exp()
    before = probabilities.cumsum(dim=-1) - probabilities
    needed = (before < top_p) | (top_p >= 1)
    # The likeliest come first; the last one needed sets the bound for its equals.
    last = needed.sum(dim=-1, keepdim=True).clamp(min=1) - 1
    kept &= survivors >= survivors.gather(1, last)
    kept &= probabilities >= min_p * probabilities[:, :1]
    return Candidates(rows, token_ids, scores.masked_fill(~kept, float("-inf")))
