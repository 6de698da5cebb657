"""The HTTP door of a load, against a real one, and what it makes of refusals."""

from pathlib import Path

import pytest

from common.errors import (
    DeadlineExpiredError,
    DvdError,
    InvalidRequestError,
    OverloadedError,
    UnreachableError,
)
from common.types import Role
from deploy.bench.door import Delta, Door, Ended, Question, Said
from deploy.bench.grpc_door import GrpcDoor
from deploy.bench.openai_door import BY_STATUS, OpenAiDoor
from deploy.bench.pictures import DrawnGallery
from deploy.bench.resolutions import Resolution
from deploy.config import DEFAULT_MODEL
from tests.local_cluster import local_cluster

PICTURE = DrawnGallery((Resolution(224, 112),), "png", seed=1).next_picture()
QUESTION = Question(
    (
        Said(Role.USER, "What is in the picture?", (PICTURE,)),
        Said(Role.ASSISTANT, "Nothing."),
        Said(Role.USER, "Look again."),
    ),
    max_tokens=8,
    ignore_eos=True,
)


async def answer(door: Door, question: Question) -> tuple[str, Ended]:
    events = [event async for event in door.ask(question)]
    ended = events[-1]
    assert isinstance(ended, Ended)
    return "".join(event.text for event in events if isinstance(event, Delta)), ended


async def test_both_doors_give_the_same_answer_and_usage() -> None:
    async with local_cluster(Path(DEFAULT_MODEL)) as cluster:
        grpc_door = GrpcDoor(cluster.address)
        http_door = OpenAiDoor(f"http://{cluster.router.doors.http_address}/v1/")
        assert await http_door.model_name() == await grpc_door.model_name()
        text, ended = await answer(grpc_door, QUESTION)
        same_text, same_ended = await answer(http_door, QUESTION)
        late = Question(QUESTION.messages, 8, timeout_seconds=1e-4)
        with pytest.raises(DeadlineExpiredError):
            await answer(http_door, late)
        with pytest.raises(InvalidRequestError):
            await answer(http_door, Question(QUESTION.messages, max_tokens=1_000_000))
        await grpc_door.close()
        await http_door.close()
    assert same_text == text
    assert ended.use.output_tokens == same_ended.use.output_tokens == 8
    for name in ("text_tokens", "visual_tokens", "visual_tokens_before", "compressed_tiles"):
        assert getattr(ended.use, name) == getattr(same_ended.use, name)
    assert ended.use.visual_tokens > 0
    assert same_ended.stages is not None
    assert same_ended.stages.decode > 0


async def test_without_a_server_it_is_unreachable() -> None:
    door = OpenAiDoor("127.0.0.1:1")
    with pytest.raises(UnreachableError, match=r"No server answers at http://127\.0\.0\.1:1"):
        await door.model_name()
    with pytest.raises(UnreachableError):
        await answer(door, QUESTION)
    await door.close()


@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidRequestError), (429, OverloadedError), (500, DvdError)]
)
def test_a_status_is_the_most_general_error_of_it(status: int, kind: type[DvdError]) -> None:
    assert BY_STATUS[status] is kind
