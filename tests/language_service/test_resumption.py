"""What a client has of its answers, made ready to go on."""

import pytest

from common.errors import InvalidRequestError
from common.types import AnswerSoFar, ChoiceEnd, FinishReason, SamplingParameters, StopMatch
from language_service.detokenizer import Detokenizer
from language_service.resumption import ResumedAnswer, check_answers, resume

SAMPLING = SamplingParameters(6, 0.0, seed=0, stop_strings=("cd", "ex"))


def letters() -> Detokenizer:
    """Spells token 0 as a, token 1 as b and so on."""
    return Detokenizer(lambda token_ids: "".join(chr(ord("a") + each) for each in token_ids))


def resumed(*token_ids: int, end: ChoiceEnd | None = None) -> ResumedAnswer:
    (answer,) = resume([AnswerSoFar(token_ids, end)], SAMPLING, letters)
    return answer


def test_an_open_answer_goes_on_with_the_text_that_was_held_back() -> None:
    answer = resumed(0, 1, 2)
    assert answer.end is None
    assert answer.text is not None
    assert answer.text.push(5) == "cf"


def test_nothing_delivered_is_a_fresh_answer() -> None:
    answer = resumed()
    assert answer.text is not None
    assert (answer.token_ids, answer.text.push(0)) == ((), "a")


def test_an_answer_of_full_length_is_complete_and_gives_out_what_was_held_back() -> None:
    answer = resumed(0, 0, 0, 0, 0, 4)
    assert answer.end is not None
    assert answer.end.end == ChoiceEnd(FinishReason.LENGTH, 6)
    assert (answer.end.text, answer.is_told) == ("e", False)


def test_an_answer_that_reached_a_stop_text_is_complete() -> None:
    answer = resumed(0, 2, 3)
    assert answer.end is not None
    assert answer.end.end == ChoiceEnd(FinishReason.STOP, 3, StopMatch(text="cd"))
    assert answer.end.text == ""


def test_an_end_that_was_told_is_kept_and_not_told_again() -> None:
    told = ChoiceEnd(FinishReason.STOP, 2, StopMatch(token_id=9))
    answer = resumed(0, 1, end=told)
    assert answer.end is not None
    assert (answer.end.end, answer.end.text, answer.is_told) == (told, "", True)


def test_several_answers_keep_their_places() -> None:
    answers = resume([AnswerSoFar((0,)), AnswerSoFar((2, 3))], SAMPLING, letters)
    assert [answer.token_ids for answer in answers] == [(0,), (2, 3)]
    assert answers[1].end is not None
    assert answers[1].end.choice == 1


@pytest.mark.parametrize(
    ("token_ids", "words"), [((0,) * 7, "7 tokens; max_tokens is 6"), ((1, 50), "token 50")]
)
def test_what_cannot_have_been_delivered_is_refused(token_ids: tuple[int, ...], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        check_answers([AnswerSoFar(token_ids)], SAMPLING, vocabulary_size=50)
    assert caught.value.field == "continue_from"
