"""`dvd demo`: a real cluster on this machine answers questions about real picture files."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.rule import Rule

from common.errors import ConfigError
from deploy.client import Answer, InferenceClient, ask_about
from deploy.report import print_stage_table, print_usage

QUESTIONS = Path("examples/pictures/questions.yaml")
MAX_TOKENS = 48


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """One question of the demo.

    Attributes:
        images: Picture files.
        question: What to ask.
        expected: The right answer, in the words of the small model.
    """

    images: tuple[Path, ...]
    question: str
    expected: str


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One line of the demo's JSON file."""

    image: str
    question: str
    expected: str
    answer: str
    usage: dict[str, Any]
    timings: dict[str, Any]


def read_questions(file: Path = QUESTIONS) -> list[DemoQuestion]:
    """Read the demo's questions.

    Raises:
        ConfigError: The pictures are not there: the demo runs in a clone of the repository.
    """
    if not file.is_file():
        raise ConfigError(f"{file} is missing; run the demo in the repository's folder.")
    return [
        DemoQuestion(
            images=tuple(file.parent / name for name in entry["images"]),
            question=entry["question"],
            expected=entry["expected"],
        )
        for entry in yaml.safe_load(file.read_text(encoding="utf-8"))
    ]


async def run_demo(address: str, console: Console, api_key: str = "") -> list[DemoRow]:
    """Ask every question and show the answers.

    Args:
        address: `host:port` of the router.
        console: Where to show them.
        api_key: Shown to the router; empty for none.
    """
    client = InferenceClient(address, api_key=api_key)
    answers: list[Answer] = []
    rows = []
    try:
        for question in read_questions():
            answer = await client.answer(ask_about(question.images, question.question, MAX_TOKENS))
            answers.append(answer)
            rows.append(_row(question, answer))
            _show(console, question, answer)
    finally:
        await client.close()
    console.print(Rule())
    right = sum(row.answer == row.expected for row in rows)
    console.print(f"[bold]{right} of {len(rows)}[/bold] answers are as expected\n")
    print_stage_table(console, (answer.finished for answer in answers))
    return rows


def write_rows(file: Path, rows: list[DemoRow]) -> None:
    """Write the answers as a JSON list."""
    file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


def _show(console: Console, question: DemoQuestion, answer: Answer) -> None:
    console.print(Rule(", ".join(path.name for path in question.images), align="left"))
    console.print(f"[bold]Q[/bold] {question.question}")
    mark = "[green]✓[/green]" if answer.text == question.expected else "[red]✗[/red]"
    console.print("[bold]A[/bold] ", end="")
    console.print(answer.text, markup=False, emoji=False, highlight=False, end="  ")
    console.print(f"{mark} [dim]expected[/dim] {question.expected}", highlight=False)
    print_usage(console, answer.finished)


def _row(question: DemoQuestion, answer: Answer) -> DemoRow:
    finished = answer.finished
    return DemoRow(
        image=", ".join(path.name for path in question.images),
        question=question.question,
        expected=question.expected,
        answer=answer.text,
        usage=_document(finished.usage),
        timings=_document(finished.timings),
    )


def _document(message: Any) -> dict[str, Any]:
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
