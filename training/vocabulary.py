"""Every word and phrasing of the pictures' world: what can be drawn, asked and answered.

The tokenizer learns its merges from these first, so that each word is one token.
"""

from enum import StrEnum

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (42, 157, 62),
    "blue": (38, 84, 214),
    "yellow": (245, 205, 30),
    "orange": (244, 132, 22),
    "pink": (244, 130, 182),
    "black": (24, 24, 24),
    "white": (250, 250, 250),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "grey": (176, 178, 184),
    "beige": (226, 208, 172),
    "cyan": (150, 222, 226),
    "brown": (126, 88, 62),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
SIGN_WORDS = (
    "BANK", "BAR", "BOAT", "BUS", "CAFE", "CITY", "DOCK", "EXIT", "FARM", "FISH", "GATE", "HILL",
    "INN", "LAKE", "MILL", "NORTH", "OPEN", "PARK", "PIER", "PORT", "PUB", "ROAD", "SHOP", "SLOW",
    "SOUTH", "STOP", "TAXI", "TEA", "TOWN", "WEST", "ZOO", "EAST",
)  # fmt: skip
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MAX_DOTS = 5
SIGN_DIGITS = 4


class Kind(StrEnum):
    """What a question asks for."""

    WORD = "word"
    NUMBER = "number"
    DOTS = "dots"
    ICON = "icon"
    SHAPE = "shape"
    COUNT = "count"
    LEFT = "left"
    DESCRIBE = "describe"
    PAIR = "pair"
    FOLLOW_UP = "follow_up"
    TEXT = "text"


DETAIL_KINDS = (Kind.WORD, Kind.NUMBER, Kind.DOTS, Kind.ICON)

# {} is filled with a colour, a shape or a number word.
PHRASINGS: dict[Kind, tuple[str, ...]] = {
    Kind.WORD: (
        "What does the {} sign say?",
        "Read the word on the {} sign.",
        "Which word is on the {} sign?",
    ),
    Kind.NUMBER: (
        "What number is on the {} sign?",
        "Read the number on the {} sign.",
        "Which number does the {} sign show?",
    ),
    Kind.DOTS: ("How many dots are there?", "Count the dots.", "How many small dots can you see?"),
    Kind.ICON: (
        "What colour is the {} icon?",
        "Which colour does the {} icon have?",
        "Name the colour of the {} icon.",
    ),
    Kind.SHAPE: (
        "What colour is the big {}?",
        "Which colour does the big {} have?",
        "Name the colour of the big {}.",
    ),
    Kind.COUNT: (
        "How many big shapes are there?",
        "Count the big shapes.",
        "How many big shapes can you see?",
    ),
    Kind.LEFT: (
        "Which big shape is left of the big {}?",
        "What is to the left of the big {}?",
    ),
    Kind.DESCRIBE: ("Describe the picture.", "What do you see?", "Tell me what is in the picture."),
    Kind.PAIR: (
        "Which picture shows a big {}, the first or the second?",
        "In which of the two pictures is the big {}?",
    ),
    Kind.FOLLOW_UP: ("And the big {}?", "And what about the big {}?"),
    Kind.TEXT: (
        "Which number comes after {}?",
        "What follows {}?",
        "Say the number after {}.",
    ),
}


def all_text() -> list[str]:
    """Every word and phrasing as it is written, for the tokenizer."""
    words = (*COLOURS, *BACKGROUNDS, *SHAPES, *NUMBER_WORDS, *SIGN_WORDS)
    phrasings = [phrasing for group in PHRASINGS.values() for phrasing in group]
    answers = ["the first", "the second", "a picture with a and an", "a picture without big shapes"]
    return [*words, *(f" {word}" for word in words), *phrasings, *answers]
