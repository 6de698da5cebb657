"""Put the results of real runs into `docs/performance.md` and the README, between their marks.

    python -m benchmarks.performance_tables dvd_ablation.json against_vllm.json

Which result a file holds follows from its rows.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCUMENT, README = Path("docs/performance.md"), Path("README.md")
ABLATION, LOSSES, SUMMARY, VLLM = "ablation", "losses", "ablation in short", "vllm"
PAPER = "paper, unequal hardware (38B, 241B)"

Row = dict[str, Any]


def filled(document: str, name: str, text: str) -> str:
    """The document with what is between one pair of marks replaced.

    Raises:
        ValueError: There are no such marks.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"There are no marks for {name}.")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", document)


def with_result(document: str, result: dict[str, Any]) -> str:
    """The document with the tables of one result."""
    rows: list[Row] = result["rows"]
    goals = f"{result['machine']}.\n\n{{}}\n\n{_goals(result['goals'])}"
    if "server" in rows[0]:
        return filled(document, VLLM, goals.format(_table(_VLLM_COLUMNS, rows)))
    tables = f"{_table(_ABLATION_COLUMNS, rows)}\n\n{_shares(rows)}"
    document = filled(document, ABLATION, goals.format(tables))
    return filled(document, LOSSES, losses(rows))


def readme_with_result(readme: str, result: dict[str, Any]) -> str:
    """The README with the ablation in short; other results have no place there."""
    rows: list[Row] = result["rows"]
    if "server" in rows[0]:
        return readme
    return filled(readme, SUMMARY, f"{summary(rows)}\n\nMeasured on {result['machine']}.")


def losses(rows: Sequence[Row]) -> str:
    """Where DvD answers fewer requests than the better coupled server with the same resolutions."""
    lost = [
        f"- {row['arm']}, {row['tiles']} tiles, {row['output']} tokens: "
        f"{row['vs coupled, same resolutions']:.2f} of the requests a second of the better coupled "
        "server with the same resolutions."
        for row in rows
        if row["arm"].startswith("DvD") and row["vs coupled, same resolutions"] < 1
    ]
    return "\n".join(lost) or "In this run DvD was ahead in every cell."


def summary(rows: Sequence[Row]) -> str:
    """Requests a second as factors of the better coupled server, a row for each cell."""
    lines = [
        "| picture, answer | DvD | DvD + ViR | coupled + ViR | p99 between tokens: DvD, coupled |",
        "|---|---|---|---|---|",
    ]
    for tiles, output in dict.fromkeys((row["tiles"], row["output"]) for row in rows):
        cell = {row["arm"]: row for row in rows if (row["tiles"], row["output"]) == (tiles, output)}
        coupled = [row for arm, row in cell.items() if arm.startswith("coupled")]
        with_vir = [row["vs coupled"] for row in coupled if row["arm"].endswith("ViR")]
        baseline = max(
            (row for row in coupled if not row["arm"].endswith("ViR")),
            key=lambda row: row["requests/s"],
        )
        factors = [cell["DvD"]["vs coupled"], cell["DvD + ViR"]["vs coupled"], max(with_vir)]
        shown = " | ".join(f"{factor:.2f}" for factor in factors)
        even, uneven = cell["DvD"]["itl p99 ms"], baseline["itl p99 ms"]
        size = "1 tile" if tiles == 1 else f"{tiles} tiles"
        lines.append(f"| {size}, {output} tokens | {shown} | {even:.0f} ms, {uneven:.0f} ms |")
    return "\n".join(lines)


_ABLATION_COLUMNS = (
    ("tiles", "tiles"),
    ("tokens", "output"),
    ("arm", "arm"),
    ("requests/s", "requests/s"),
    ("rounds", "spread"),
    ("vs coupled", "vs coupled"),
    ("goodput/s", "goodput/s"),
    ("TTFT p50", "ttft p50 ms"),
    ("p99", "ttft p99 ms"),
    ("ITL p50", "itl p50 ms"),
    ("p99", "itl p99 ms"),
    ("CPU ms", "cpu ms/request"),
    ("paper, unequal hardware", PAPER),
)
_VLLM_COLUMNS = (
    ("tiles", "tiles"),
    ("server", "server"),
    ("requests/s", "requests/s"),
    ("rounds", "spread"),
    ("vs vLLM", "vs vLLM"),
    ("TTFT p50 ms", "ttft p50 ms"),
    ("p99", "ttft p99 ms"),
    ("ITL p50 ms", "itl p50 ms"),
    ("p99", "itl p99 ms"),
)


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[Row]) -> str:
    lines = [
        "| " + " | ".join(title for title, _ in columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(_shown(key, row[key]) for _, key in columns) + " |" for row in rows),
    ]
    return "\n".join(lines)


def _shares(rows: Sequence[Row]) -> str:
    columns = (
        ("tiles", "tiles"),
        ("tokens", "output"),
        ("arm", "arm"),
        ("ViT : prefill : decode, % of CPU time", "ViT : prefill : decode"),
        ("tiles compressed", "compressed"),
    )
    return _table(columns, [row for row in rows if row["ViT : prefill : decode"]])


def _goals(goals: Sequence[dict[str, Any]]) -> str:
    lines = ["| goal | value | target | better |", "|---|---|---|---|"]
    for goal in goals:
        value = goal.get("reason", "") if goal["value"] is None else f"{goal['value']:.2f}"
        lines.append(f"| {goal['name']} | {value} | {goal['target']} | {goal['better']} |")
    return "\n".join(lines)


def _shown(key: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if key.endswith(" ms") else f"{value:.2f}"
    return str(value)


def main() -> None:
    """Read results, write the documents."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, nargs="+", help="files of --json")
    arguments = parser.parse_args()
    document, readme = (file.read_text(encoding="utf-8") for file in (DOCUMENT, README))
    for file in arguments.results:
        result = json.loads(file.read_text(encoding="utf-8"))
        document, readme = with_result(document, result), readme_with_result(readme, result)
    DOCUMENT.write_text(document, encoding="utf-8")
    README.write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
