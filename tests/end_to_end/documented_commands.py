"""The fenced commands of a document, as a reader would copy them."""

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Attributes:
        language: What its fence says.
        text: What is in it.
    """

    language: str
    text: str


def blocks(file: Path, *languages: str) -> list[Block]:
    """Every block of these languages, in order."""
    found = FENCE.finditer(file.read_text(encoding="utf-8"))
    every = [Block(match["language"], match["text"]) for match in found]
    return [block for block in every if block.language in languages]
