"""Equal work has equal keys: pictures, and all turns of a conversation."""

from dataclasses import replace

from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.types import Role
from router.affinity_key import affinity_key, conversation_start
from router.requests import ValidRequest
from tests.router.fakes import request


def says(role: Role, *parts: str | int) -> PromptMessage:
    """A message of texts, and of pictures by their positions."""
    made = [TextPart(p) if isinstance(p, str) else ImageGroupPart((p,)) for p in parts]
    return PromptMessage(role, tuple(made))


def conversation(*messages: PromptMessage) -> ValidRequest:
    return replace(request(1, 1), messages=messages)


SYSTEM = says(Role.SYSTEM, "Be brief.")
FIRST = says(Role.USER, 0, "What is this?")
START = conversation_start(conversation(SYSTEM, FIRST))


def test_a_key_has_64_bits_and_is_the_same_everywhere() -> None:
    assert affinity_key(b"a picture") == 0x96B9E1389B5B0D25
    assert affinity_key(b"a picture") != affinity_key(b"another")


def test_all_turns_of_a_conversation_have_the_key_of_its_first() -> None:
    later = conversation(SYSTEM, FIRST, says(Role.ASSISTANT, "A cat."), says(Role.USER, 1, "And?"))
    assert conversation_start(later) == START


def test_another_beginning_has_another_key() -> None:
    others = [
        (says(Role.SYSTEM, "Be long."), FIRST),
        (FIRST,),
        (SYSTEM, says(Role.USER, 1, "What is this?")),
        (SYSTEM, says(Role.USER, "What is this?", 0)),
        (SYSTEM, says(Role.USER, 0, "What is", " this?")),
    ]
    starts = {conversation_start(conversation(*messages)) for messages in others}
    assert len(starts | {START}) == len(others) + 1
