"""The three stages that work at the same time, and how their load is asked for.

What one process does at a time is one stage's work: a share of 1 means that it never waits.
"""

from dataclasses import dataclass

from deploy.grafana.board import SELECTOR
from deploy.grafana.promql import WINDOW

BUSY = "dvd_stage_busy_seconds_total"


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the three.

    Attributes:
        title: As the dashboards name it.
        role: Whose processes count its seconds.
        parts: Values of the label `stage` that belong to it, as a regular expression.
    """

    title: str
    role: str
    parts: str

    def busy(self, *labels: str) -> str:
        """Share of the time that it works: of each replica, or the mean over all."""
        where = f'{SELECTOR}, role="{self.role}", stage=~"{self.parts}"'
        each = f"sum by ({', '.join(labels or ('replica',))}) (rate({BUSY}{{{where}}}[{WINDOW}]))"
        return each if labels else f"avg ({each})"


VISION = Stage("vision", "vision", "vit|gate|project")
TRANSFER = Stage("transfer", "vision", "transfer")
LANGUAGE = Stage("language", "language", "prefill|decode")
STAGES = (VISION, TRANSFER, LANGUAGE)
