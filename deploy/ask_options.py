"""What `dvd ask` is asked to do; apart from the rest, so that the command line starts at once."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How to ask, and what to make of the answer.

    Attributes:
        server: `host:port` of a router.
        max_tokens: Answer limit; None for the server's.
        scope: Scope of the visual resolution router; None for the server's.
        explain: File to draw tiles, scores and resolutions into; None for no drawing.
        temperature: 0 for greedy.
        top_p: Draw from the fewest tokens whose probability adds up to this; None for the
            server's.
        seed: Of the draws; None for a new one.
        stop: Texts that end the answer.
        num_choices: Answers to give.
    """

    server: str
    max_tokens: int | None = None
    scope: str | None = None
    explain: Path | None = None
    temperature: float = 0.0
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    num_choices: int = 1
