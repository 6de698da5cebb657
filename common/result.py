"""What every measurement writes: machine, versions, rows, goals; as JSON and as a table."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

PACKAGES = ("torch", "transformers", "ray", "grpcio", "protobuf")


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of a goal table.

    Attributes:
        name: As the table has it.
        value: What was measured; None where it could not be.
        target: What is aimed at.
        better: Which way is better.
        reason: Why there is no value.
    """

    name: str
    value: float | None
    target: float
    better: Literal["higher", "lower"]
    reason: str | None = None

    @property
    def is_met(self) -> bool:
        """Whether the value reaches the target."""
        if self.value is None:
            return False
        return self.value >= self.target if self.better == "higher" else self.value <= self.target


@dataclass(slots=True)
class Result:
    """Everything one measurement found out.

    Attributes:
        rows: What was measured, as the table has it.
        goals: Lines of the goal table.
        device: What it ran on, where that is not the machine's processor.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    device: str | None = None

    def write(self, file: Path) -> None:
        """Write the JSON document."""
        document = {
            "machine": machine() if self.device is None else f"{machine()}; {self.device}",
            "versions": {"python": platform.python_version()}
            | {package: version(package) for package in PACKAGES},
            "rows": self.rows,
            "goals": [_without_empty_reason(goal) for goal in self.goals],
        }
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def report(self, file: Path | None) -> None:
        """Print it, and write it where a file is named."""
        self.show()
        if file is not None:
            self.write(file)

    def show(self) -> None:
        """Print rows and goals."""
        console = Console()
        if self.rows:
            table = Table(*self.rows[0], title="Rows", title_justify="left")
            for row in self.rows:
                table.add_row(*(_shown(value) for value in row.values()))
            console.print(table)
        goals = Table("goal", "value", "target", "better", "met", title="Goals")
        goals.title_justify = "left"
        for goal in self.goals:
            value = goal.reason or "" if goal.value is None else _shown(goal.value)
            met = "yes" if goal.is_met else "no"
            goals.add_row(goal.name, value, _shown(goal.target), goal.better, met)
        console.print(goals)


def machine() -> str:
    """Name the processor and count its cores."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores"


def _without_empty_reason(goal: Goal) -> dict[str, Any]:
    document = asdict(goal)
    if goal.reason is None:
        del document["reason"]
    return document


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
