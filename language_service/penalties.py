"""What the tokens so far, and the request's biases, do to the next token's logits.

    logits -> + bias -> repetition penalty -> - frequency penalty - presence penalty

The repetition penalty counts the prompt's text and the answer, as transformers does when it sees
the prompt's ids; presence and frequency count the answer alone, as the OpenAI API does. Visual
tokens are no tokens of the vocabulary and count nowhere. Only logits of tokens that occur are
touched, so the cost follows the length of the text and not the size of the vocabulary.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch

from common.types import SamplingParameters, TokenBias
from language_service.uploads import upload


@dataclass(slots=True)
class TokenHistory:
    """How often each token stands in an answer; those of the prompt alone stand at 0.

    Attributes:
        counts: Times in the answer, by token id.
        num_output_tokens: Answer tokens that are counted.
    """

    counts: dict[int, int] = field(default_factory=dict)
    num_output_tokens: int = 0

    @classmethod
    def of_prompt(cls, token_ids: Iterable[int]) -> "TokenHistory":
        """The history of an answer that has not begun.

        Args:
            token_ids: The prompt's text tokens.
        """
        return cls(dict.fromkeys(token_ids, 0))

    def catch_up(self, output_ids: Sequence[int]) -> None:
        """Count what is new in an answer."""
        for token_id in output_ids[self.num_output_tokens :]:
            self.counts[token_id] = self.counts.get(token_id, 0) + 1
        self.num_output_tokens = len(output_ids)


@dataclass(frozen=True, slots=True)
class PenalisedRow:
    """A row of logits with penalties.

    Attributes:
        index: Which row.
        sampling: Its penalties.
        history: What they count.
    """

    index: int
    sampling: SamplingParameters
    history: TokenHistory


def add_biases(scores: torch.Tensor, biases: Mapping[int, Sequence[TokenBias]]) -> None:
    """Add biases to some rows of [n, vocabulary] float32 in place.

    Args:
        scores: Logits.
        biases: By row, at most one a token.
    """
    places = [(row, each.token_id) for row, several in biases.items() for each in several]
    if not places:
        return
    rows, columns = upload(places, torch.int64, scores.device).unbind(1)
    amounts = [each.bias for several in biases.values() for each in several]
    scores[rows, columns] += upload(amounts, torch.float32, scores.device)


def penalise(scores: torch.Tensor, rows: Sequence[PenalisedRow]) -> None:
    """Apply penalties to some rows of [n, vocabulary] float32 in place.

    Args:
        scores: Logits.
        rows: Each at most once, with an up-to-date history.
    """
    # One entry for each token that a row has seen; no entry occurs twice.
    histories = [row.history.counts for row in rows]
    token_ids = list(chain.from_iterable(histories))
    counts = list(chain.from_iterable(history.values() for history in histories))
    device = scores.device
    columns, times = upload([token_ids, counts], torch.int64, device)
    repeats = upload([len(history) for history in histories], torch.int64, device)
    settings = upload([_settings(row.sampling) for row in rows], torch.float32, device)
    index = upload([row.index for row in rows], torch.int64, device)
    # With the size known nobody asks the device for it.
    index = index.repeat_interleave(repeats, output_size=len(token_ids))
    settings = settings.repeat_interleave(repeats, dim=0, output_size=len(token_ids))
    repetition, presence, frequency = settings.unbind(1)
    values = scores[index, columns]
    values = torch.where(values > 0, values / repetition, values * repetition)
    values -= frequency * times + presence * (times > 0)
    scores[index, columns] = values


def _settings(sampling: SamplingParameters) -> tuple[float, float, float]:
    return (
        sampling.repetition_penalty,
        sampling.presence_penalty,
        sampling.frequency_penalty,
    )
