"""Counting and cutting prompts."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from language_service.prompt import (
    ImageSegment,
    Prompt,
    PromptLayout,
    TextSegment,
    VisualSegment,
)

ROWS = torch.arange(12.0).view(4, 3)
PROMPT = Prompt((TextSegment((1, 2, 3)), VisualSegment(ROWS), TextSegment((4, 5))))


def flat(prompt: Prompt) -> list[object]:
    return [
        token
        for segment in prompt.segments
        for token in (
            segment.token_ids if isinstance(segment, TextSegment) else segment.embeddings.tolist()
        )
    ]


def test_tokens_of_each_kind() -> None:
    counts = (PROMPT.num_tokens, PROMPT.num_text_tokens, PROMPT.num_visual_tokens)
    assert counts == (9, 5, 4)


def test_layout_counts_text() -> None:
    layout = PromptLayout((TextSegment((1, 2)), ImageSegment(1), ImageSegment(0)))
    assert layout.num_text_tokens == 2


@given(begin=st.integers(0, 9), end=st.integers(0, 9))
def test_slices_are_slices(begin: int, end: int) -> None:
    assert flat(PROMPT.slice(begin, end)) == flat(PROMPT)[begin:end]


def test_slices_share_memory() -> None:
    (segment,) = PROMPT.slice(4, 6).segments
    assert isinstance(segment, VisualSegment)
    assert segment.embeddings.data_ptr() == ROWS[1].data_ptr()


def test_embeddings_are_mapped_and_text_is_kept() -> None:
    doubled = PROMPT.map_embeddings(lambda rows: rows * 2)
    assert flat(doubled) == [1, 2, 3, *(ROWS * 2).tolist(), 4, 5]
