"""What ranks tell and add up, and that one which is gone or hangs is noticed in time."""

import threading

import numpy as np
import pytest
import torch

from common.errors import RankLostError
from language_service.rank_group import (
    NUMBERS_AT_ONCE,
    GroupSettings,
    RankGroup,
    RankStore,
    join_group,
)
from language_service.sharding import Rank
from tests.language_service.ranks import CPU, form_groups

QUICK = GroupSettings(CPU, timeout_seconds=0.5)


@pytest.mark.parametrize(
    "length", [1, NUMBERS_AT_ONCE - 2, NUMBERS_AT_ONCE - 1, NUMBERS_AT_ONCE, 3 * NUMBERS_AT_ONCE]
)
def test_an_order_of_any_length_is_heard_as_it_was_told(length: int) -> None:
    first, second = form_groups(2)
    told = np.arange(1, length + 1, dtype=np.int32)
    heard: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: heard.append(second.hear()))
    thread.start()
    first.tell(told)
    thread.join(20)
    assert np.array_equal(heard[0], told)


def test_sums_columns_and_smallest_are_the_same_on_every_rank() -> None:
    groups = form_groups(3)
    outcomes: dict[int, list[torch.Tensor]] = {}

    def work(group: RankGroup) -> None:
        own = torch.full((2, 2), float(group.rank.index + 1))
        outcomes[group.rank.index] = [
            group.join_columns(own[:, :1]),
            group.add_up(own),
            group.add_up(torch.empty(0, 2)),
            group.spread(torch.full((2,), float(group.rank.index + 7))),
            torch.tensor(group.smallest(5 - group.rank.index)),
        ]

    threads = [threading.Thread(target=work, args=(group,)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    expected = [
        torch.tensor([[1.0, 2.0, 3.0]] * 2),
        torch.full((2, 2), 6.0),
        torch.empty(0, 2),
        torch.full((2,), 7.0),
        torch.tensor(3),
    ]
    assert len(outcomes) == 3
    for outcome in outcomes.values():
        pairs = zip(outcome, expected, strict=True)
        assert all(torch.equal(mine, wanted) for mine, wanted in pairs)


def test_a_rank_that_is_gone_is_noticed_by_all_that_wait() -> None:
    first, second = form_groups(2)
    del second
    with pytest.raises(RankLostError, match="has lost another rank"):
        first.add_up(torch.ones(1))


def test_a_first_rank_that_is_gone_ends_those_that_listen() -> None:
    first, second = form_groups(2)
    del first
    with pytest.raises(RankLostError):
        second.hear()


def test_a_rank_that_hangs_is_waited_for_so_long_and_no_longer() -> None:
    first, _second = form_groups(2, QUICK)
    with pytest.raises(RankLostError):
        first.add_up(torch.ones(1))


def test_a_rank_that_does_not_listen_is_told_for_so_long_and_no_longer() -> None:
    first, _second = form_groups(2, QUICK)
    with pytest.raises(RankLostError):  # noqa: PT012  # the first may be on its way already
        for _ in range(2):
            first.tell(np.ones(3, dtype=np.int32))


def test_a_rank_that_never_comes_is_an_error_on_both_sides() -> None:
    with pytest.raises(RankLostError, match="in time"):
        RankStore(0.3).form(2, QUICK)
    with pytest.raises(RankLostError, match="cannot reach"):
        join_group(Rank(1, 2), RankStore(0.3).port, QUICK)
