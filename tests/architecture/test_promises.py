"""`docs/reliability.md` names the test that holds each promise; each is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# What others' systems failed at, by number, and every one of it is ours to hold.
MODES = {*range(1, 9), 12, 17, *range(20, 29), 32, *range(34, 37)}


def names_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED.findall(PAGE))))
def test_a_named_test_exists(file: str, name: str) -> None:
    assert name in names_of(ROOT / file)


def test_every_row_of_a_table_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    bare = [row for row in rows if not NAMED.search(row) and "make chaos" not in row]
    heads = [row for row in bare if row.endswith("| held by |")]
    assert bare == heads
    assert len(rows) > len(MODES)


def test_every_failure_mode_has_its_row() -> None:
    numbered = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert {int(number) for number in numbered} >= MODES
