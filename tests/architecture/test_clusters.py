"""Tests that start Ray clusters run in one process, one after the other; see `conftest.py`."""

from pathlib import Path

from tests.conftest import STARTS_CLUSTERS

ROOT = Path(__file__).parents[2]
MARK = "pytest.mark." + "cluster"


def test_every_file_marked_as_starting_clusters_is_in_the_process_of_the_clusters() -> None:
    marked = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "tests").rglob("test_*.py")
        if MARK in file.read_text(encoding="utf-8")
    ]
    assert len(marked) > 5
    assert [file for file in marked if not file.startswith(STARTS_CLUSTERS)] == []
