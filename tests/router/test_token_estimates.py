"""What a request will likely cost its language replica."""

from dataclasses import replace

import pytest

from router.answer import TokenUsage
from router.known_resolutions import KnownResolution
from router.token_estimates import FIRST_ANSWER_TOKENS, TokenEstimates
from tests.router.fakes import request
from tests.router.test_validation import MODEL

FULL, SMALL = MODEL.full_tokens_per_tile, MODEL.compressed_tokens_per_tile
PICTURES = request(3, 1)
PICTURES = replace(
    PICTURES, text_tokens=40, sampling=replace(PICTURES.sampling, max_tokens=None, num_choices=2)
)
UNKNOWN = (None, None)


def usage(**changes: int) -> TokenUsage:
    """Of an answer of 10 tokens to 20 of text."""
    return replace(TokenUsage(20, 0, 0, 0, 0, 10, 0), **changes)


def learnt(*answers: TokenUsage) -> TokenEstimates:
    estimates = TokenEstimates(MODEL)
    for answer in answers * 200:
        estimates.note(answer, num_choices=1)
    return estimates


def test_at_first_pictures_are_full_and_answers_of_an_assumed_length() -> None:
    work = TokenEstimates(MODEL).work(PICTURES, UNKNOWN)
    assert work == 40 + 4 * FULL + 2 * FIRST_ANSWER_TOKENS


def test_an_answer_is_expected_as_long_as_answers_are_and_not_as_its_limit() -> None:
    estimates = learnt(usage())
    assert estimates.work(PICTURES, UNKNOWN) == 40 + 4 * FULL + 2 * 10
    bounded = replace(PICTURES, sampling=replace(PICTURES.sampling, max_tokens=4, num_choices=1))
    assert estimates.work(bounded, UNKNOWN) == 40 + 4 * FULL + 4


def test_of_several_answers_each_counts_alone() -> None:
    estimates = TokenEstimates(MODEL)
    for _ in range(200):
        estimates.note(usage(completion_tokens=60), num_choices=3)
    assert estimates.answer_tokens == pytest.approx(20, rel=0.01)


def test_decided_pictures_count_as_decided() -> None:
    known = (KnownResolution((), (True, True, False)), KnownResolution((), (True,)))
    work = TokenEstimates(MODEL).work(PICTURES, known)
    assert work == 40 + 3 * SMALL + FULL + 2 * FIRST_ANSWER_TOKENS


def test_undecided_pictures_count_as_pictures_have_been_compressed() -> None:
    estimates = learnt(usage(visual_tokens=10, visual_tokens_before_resolution=40))
    expected = 40 + 4 * FULL / 4 + 2 * 10
    assert estimates.work(PICTURES, UNKNOWN) == pytest.approx(expected, abs=1)


def test_what_replicas_find_in_their_caches_is_left_out() -> None:
    estimates = learnt(usage(cached_tokens=15))
    expected = (40 + 4 * FULL) / 4 + 2 * 10
    assert estimates.work(PICTURES, UNKNOWN) == pytest.approx(expected, abs=1)


def test_even_what_is_all_cached_is_some_work() -> None:
    estimates = learnt(usage(cached_tokens=20, completion_tokens=0))
    assert estimates.work(PICTURES, UNKNOWN) == 1
