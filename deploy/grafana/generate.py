"""Writes the dashboards as JSON, for Grafana's provisioning to read.

    python -m deploy.grafana.generate

The files are committed, so that a Grafana needs no Python; a test compares them with what this
makes.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.board import Board
from deploy.grafana.boards import language, overview, pipeline, replicas, router, transfer, vision

FOLDER = Path(__file__).parent / "dashboards"
BOARDS: tuple[Board, ...] = tuple(
    each.BOARD for each in (overview, pipeline, vision, transfer, language, router, replicas)
)


def documents() -> Iterator[tuple[str, str]]:
    """Name and text of every file."""
    for board in BOARDS:
        document = json.loads(JSONEncoder().encode(board.document()))
        text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
        yield f"{board.uid}.json", text + "\n"


def main() -> None:
    """Write every file."""
    for name, text in documents():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
