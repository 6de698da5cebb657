"""What is asked for stays, what is not goes."""

from router.score_memory import ScoreMemory


def test_scores_come_back_as_they_were_given() -> None:
    memory = ScoreMemory(2)
    memory.remember(b"a", (0.25, 0.5))
    assert memory.recall(b"a") == (0.25, 0.5)
    assert memory.recall(b"b") is None


def test_the_one_that_was_not_asked_for_longest_is_forgotten() -> None:
    memory = ScoreMemory(2)
    memory.remember(b"a", (0.1,))
    memory.remember(b"b", (0.2,))
    memory.recall(b"a")
    memory.remember(b"c", (0.3,))
    assert (memory.recall(b"a"), memory.recall(b"b"), memory.recall(b"c")) == ((0.1,), None, (0.3,))
    assert len(memory) == 2


def test_a_picture_is_remembered_once() -> None:
    memory = ScoreMemory(2)
    memory.remember(b"a", (0.1,))
    memory.remember(b"b", (0.2,))
    memory.remember(b"a", (0.1,))
    memory.remember(b"c", (0.3,))
    assert memory.recall(b"b") is None
    assert memory.recall(b"a") == (0.1,)
