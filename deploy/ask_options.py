"""What `dvd ask` is asked to do; apart from the rest, so that the command line starts at once."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How to ask, and what to make of the answer.

    Attributes:
        server: `host:port` of a router, or of several, separated by commas.
        max_tokens: Answer limit; None for the server's.
        scope: Scope of the visual resolution router; None for the server's.
        explain: File to draw tiles, scores and resolutions into; None for no drawing.
        temperature: 0 for greedy.
        top_p: Draw from the fewest tokens whose probability adds up to this; None for the
            server's.
        seed: Of the draws; None for a new one.
        stop: Texts that end the answer.
        num_choices: Answers to give.
        relative_threshold: Of the resolution rule; None for the server's.
        absolute_threshold: Likewise.
        max_tiles: Most tiles of each picture; None for the server's.
        detail: The same in words, a key of `DETAILS`; None for the server's.
        is_combined: Whether all pictures share one place in the prompt.
        api_key: Shown to the router; empty for none.
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
    relative_threshold: float | None = None
    absolute_threshold: float | None = None
    max_tiles: int | None = None
    detail: str | None = None
    is_combined: bool = False
    api_key: str = field(default="", repr=False)
