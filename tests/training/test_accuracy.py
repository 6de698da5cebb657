"""An answer is right when all its tokens are, the follow-up's first answer included."""

from dataclasses import dataclass

import torch
from hypothesis import given
from hypothesis import strategies as st

from training.accuracy import exact_by_kind
from training.batches import Batch, Batcher, PictureQuestions
from training.questions import Turn
from training.tokenizer import train_tokenizer
from training.vocabulary import Kind

TOKENIZER = train_tokenizer()
WORD = Turn(Kind.WORD, "What does the red sign say?", "BANK")
LONG = Turn(Kind.DESCRIBE, "Describe the picture.", "a grey picture with a red star")
SHAPE = Turn(Kind.SHAPE, "What colour is the big star?", "blue")
MORE = Turn(Kind.FOLLOW_UP, "And the big cross?", "green")
TEXT = Turn(Kind.TEXT, "What follows eight?", "nine")
ASKED = [
    PictureQuestions((), ((WORD,), (SHAPE, MORE), (LONG,))),
    PictureQuestions((), ((TEXT,),)),
    PictureQuestions((), ((SHAPE,), (TEXT,), (SHAPE, MORE), (WORD,), (WORD,))),
]
BRANCHES = [branch for asked in ASKED for branch in asked.branches]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a branch, with its end."""

    branch: int
    num_tokens: int


def batch() -> Batch:
    return Batcher(TOKENIZER).batch(ASKED, [[], [], []], torch.empty(0))


# Every answer and its end, in the order of the conversations.
ANSWERS = [
    Answer(number, len(TOKENIZER.encode(turn.answer).ids) + 1)
    for number, turns in enumerate(BRANCHES)
    for turn in turns
]
TOKENS = [answer.branch for answer in ANSWERS for _ in range(answer.num_tokens)]


def named(wrong: set[int]) -> torch.Tensor:
    """The right tokens, but for those at some places."""
    right = batch().answers.clone()
    assert len(right) == len(TOKENS)
    for place in wrong:
        right[place] += 1
    return right


def test_right_tokens_are_right_answers() -> None:
    shares = exact_by_kind(batch(), ASKED, named(set()))
    kinds = {turns[-1].kind for turns in BRANCHES}
    assert shares == dict.fromkeys(["all", *kinds], 1.0)


def test_a_wrong_first_answer_makes_the_conversation_wrong() -> None:
    first = TOKENS.index(1)  # of the first branch with a follow-up
    shares = exact_by_kind(batch(), ASKED, named({first}))
    assert shares["follow_up"] == 0.5
    assert shares["shape"] == 1.0
    assert shares["all"] == 8 / 9


def test_a_wrong_end_makes_the_answer_wrong() -> None:
    shares = exact_by_kind(batch(), ASKED, named({len(TOKENS) - 1}))
    assert shares["word"] == 2 / 3


@given(st.sets(st.sampled_from(range(len(TOKENS)))))
def test_shares_are_those_of_counting_one_by_one(wrong: set[int]) -> None:
    shares = exact_by_kind(batch(), ASKED, named(wrong))
    right: dict[str, list[bool]] = {"all": []}
    for number, turns in enumerate(BRANCHES):
        exact = number not in {TOKENS[place] for place in wrong}
        right["all"].append(exact)
        right.setdefault(turns[-1].kind, []).append(exact)
    assert shares == {kind: sum(each) / len(each) for kind, each in right.items()}
