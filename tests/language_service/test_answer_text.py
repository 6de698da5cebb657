"""Text from tokens: what was replayed is never given out again, wherever an answer is cut."""

from hypothesis import given
from hypothesis import strategies as st

from language_service.answer_text import AnswerText
from language_service.detokenizer import Detokenizer

# Two bytes a token, so that characters lie across tokens.
WORDS = ["a", "é", "你", "🙂", "ab", "aé"]


def decode(token_ids: list[int]) -> str:
    return bytes(token_ids).decode(errors="replace")


def answer_text(stops: list[str]) -> AnswerText:
    return AnswerText(Detokenizer(decode), stops)


@given(
    words=st.lists(st.sampled_from(WORDS), max_size=12),
    stops=st.lists(st.sampled_from([*WORDS, "aab", "é你"]), max_size=3),
    data=st.data(),
)
def test_a_cut_anywhere_changes_nothing(
    words: list[str], stops: list[str], data: st.DataObject
) -> None:
    token_ids = list("".join(words).encode())
    cut = data.draw(st.integers(0, len(token_ids)))
    whole, resumed = answer_text(stops), answer_text(stops)
    before = [whole.push(token_id) for token_id in token_ids[:cut]]
    resumed.replay(token_ids[:cut])
    rest = [whole.push(token_id) for token_id in token_ids[cut:]]
    assert [resumed.push(token_id) for token_id in token_ids[cut:]] == rest
    assert resumed.matched == whole.matched
    last = whole.finish()
    assert resumed.finish() == last
    if not stops:
        assert "".join((*before, *rest, last)) == "".join(words)
