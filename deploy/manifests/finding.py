"""One thing that is wrong with one manifest, as a person is told it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake.

    Attributes:
        file: Where, by its path from the repository's root.
        message: What, in one line.
    """

    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"
