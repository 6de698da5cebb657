"""A balanced door gives each request to the server with the fewest under way."""

from collections.abc import AsyncIterator

from benchmarks.balanced_door import BalancedDoor
from common.types import Role
from deploy.bench.door import Delta, Ended, Question, Said, TokenUse

QUESTION = Question((Said(Role.USER, "Hello?"),), max_tokens=1)


class NamedDoor:
    """Answers with its name."""

    num_retries = 1

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_closed = False

    async def model_name(self) -> str:
        return "model"

    async def ask(self, question: Question) -> AsyncIterator[Delta | Ended]:
        yield Delta(self.name, 1)
        yield Ended(TokenUse(output_tokens=question.max_tokens))

    async def close(self) -> None:
        self.is_closed = True


async def test_requests_go_where_the_fewest_are_under_way() -> None:
    door = BalancedDoor([NamedDoor("a"), NamedDoor("b")])
    open_answers = [door.ask(QUESTION) for _ in range(4)]
    begun = [await anext(answer) for answer in open_answers]
    assert [each.text for each in begun if isinstance(each, Delta)] == ["a", "b", "a", "b"]
    async for _ in open_answers[1]:
        pass
    async for _ in open_answers[3]:
        pass
    first = await anext(door.ask(QUESTION))
    assert first == Delta("b", 1)


async def test_one_after_the_other_they_go_to_each_in_turn() -> None:
    door = BalancedDoor([NamedDoor("a"), NamedDoor("b")])
    texts = []
    for _ in range(4):
        texts += [each.text async for each in door.ask(QUESTION) if isinstance(each, Delta)]
    assert texts == ["a", "b", "a", "b"]


async def test_it_adds_up_retries_and_closes_all() -> None:
    doors = [NamedDoor("a"), NamedDoor("b")]
    door = BalancedDoor(doors)
    assert door.num_retries == 2
    assert await door.model_name() == "model"
    await door.close()
    assert all(each.is_closed for each in doors)
