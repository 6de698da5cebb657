"""Which tensor-parallel size is suggested."""

import pytest

from deploy.parallel_choices import ParallelChoice, suggested_choice


def choices(*tokens: int) -> tuple[ParallelChoice, ...]:
    return tuple(ParallelChoice(2**index, kv_tokens=each) for index, each in enumerate(tokens))


@pytest.mark.parametrize(
    ("tokens", "size"),
    [
        ((50, 110, 230), 1),
        ((0, 39, 40), 4),
        ((0, 12, 39), 4),
        ((39, 0, 20), 1),
        ((0, 0, 0), None),
        ((), None),
    ],
)
def test_the_smallest_that_holds_the_longest_request_or_else_the_roomiest(
    tokens: tuple[int, ...], size: int | None
) -> None:
    choice = suggested_choice(choices(*tokens), context_tokens=40)
    assert (choice.size if choice else None) == size
