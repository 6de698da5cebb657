"""Sizes of pictures as the command line writes them: `448x448`, or `448x448:3,896x672:1`."""

import re
from dataclasses import dataclass

from common.errors import ConfigError

SIZE = re.compile(r"(\d{1,5})x(\d{1,5})(?::(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class Resolution:
    """One size.

    Attributes:
        width: Pixels.
        height: Pixels.
        weight: How often it is chosen beside the others.
    """

    width: int
    height: int
    weight: float = 1.0


def parse_resolutions(text: str) -> tuple[Resolution, ...]:
    """Read one size or several with weights.

    Raises:
        ConfigError: It is written in another way, a side is 0, or no weight is above 0.
    """
    parsed = []
    for one in text.split(","):
        match = SIZE.fullmatch(one.strip())
        if match is None or not int(match[1]) or not int(match[2]):
            raise ConfigError(
                f"--image-resolution takes 448x448 or 448x448:3,896x672:1, not {text}."
            )
        parsed.append(Resolution(int(match[1]), int(match[2]), float(match[3] or 1)))
    if not any(resolution.weight for resolution in parsed):
        raise ConfigError("--image-resolution needs a weight above 0.")
    return tuple(parsed)
