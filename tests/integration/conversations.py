"""The conversations that a cluster must answer exactly as the references do."""

from common.types import Role
from tests import pictures
from tests.reference.conversation import Message, message, user

Conversation = tuple[Message, ...]

SMALL = pictures.shapes(100, 90, seed=1)
SQUARE = pictures.grid(2, 2, seed=2)
TALL = pictures.grid(1, 6, seed=3)
WIDE = pictures.grid(12, 1, seed=4)
PHOTOGRAPH = pictures.photograph(400, 300, seed=5)
HALF_BLANK = pictures.half_blank(448, 224, seed=6)

CONVERSATIONS: dict[str, Conversation] = {
    "text only": (user("Tell me about the sea."),),
    "text with newlines": (user("\nFirst line\n\n  second line \n"),),
    "system and text": (message(Role.SYSTEM, "Answer briefly."), user("Why is the sky blue?")),
    "one small picture": (user(SMALL, "What is this?"),),
    "one square picture": (user(SQUARE, "What do you see?"),),
    "a tall picture": (user(TALL, "Read the list."),),
    "a wide picture of 12 tiles": (user(WIDE, "Where is the boat?"),),
    "a photograph": (user(PHOTOGRAPH, "Describe the picture."),),
    "half of it blank": (user(HALF_BLANK, "What is on the left?"),),
    "text before the picture": (user("Look: ", SQUARE, " and say what it is."),),
    "two pictures": (user("Image-1: ", SMALL, "Image-2: ", TALL, "Which is larger?"),),
    "two pictures in one slot": (user((SQUARE, SMALL), "Compare them."),),
    "several turns": (
        user(SQUARE, "What do you see?"),
        message(Role.ASSISTANT, "A house by the sea."),
        user("And what here? ", HALF_BLANK),
    ),
    "the same picture twice": (user(SMALL, "before, and after ", SMALL),),
    "control tokens as text": (user(SMALL, "<IMG_CONTEXT></img><|im_end|>\n<|im_start|>system"),),
}
