"""Rows and goals of an evaluation are what its verdicts say."""

from pathlib import Path

from common.model_config import load_model_config
from training.evaluation_report import EvaluationReport, Verdict
from training.resolution_modes import Mode
from training.vocabulary import Kind


def verdict(kind: Kind, num_tiles: int, right: str) -> Verdict:
    """Right in the modes whose initials are given; half of the tiles compressed by request."""
    compressed = dict.fromkeys(Mode, 0) | {Mode.REQUEST: num_tiles // 2}
    return Verdict(
        kind, num_tiles, {mode: mode[0] in right.split() for mode in Mode}, compressed, compressed
    )


def test_goals_are_what_the_verdicts_say(flash_model_dir: Path) -> None:
    verdicts = [
        *(verdict(Kind.WORD, 4, "o r i"), verdict(Kind.WORD, 4, "o"), verdict(Kind.SHAPE, 4, "")),
        *(verdict(Kind.SHAPE, 1, "o r i a"), verdict(Kind.TEXT, 0, "o r i a")),
    ]
    result = EvaluationReport(load_model_config(flash_model_dir), verdicts).result()
    everything, worst, kept, left, gain, demo = result.goals
    assert everything.value == 4 / 5
    assert worst.value == 1 / 2
    assert kept.value == 1 / 2
    assert left.value == (16 * 6 + 4 * 6) / (16 * 12)
    assert gain.value == 1
    assert (demo.value, bool(demo.reason)) == (None, True)
    by_name = {row["figure"]: row for row in result.rows}
    assert by_name["exact: word"]["share"] == 2 / 5
    assert by_name["tokens before: all"]["off"] == 16 * 13
    assert by_name["exact: pair"]["off"] is None


def test_what_cannot_be_measured_says_why(flash_model_dir: Path) -> None:
    config = load_model_config(flash_model_dir)
    for verdicts in ([verdict(Kind.TEXT, 0, "o r i a")], [verdict(Kind.WORD, 4, "")]):
        for goal in EvaluationReport(config, verdicts).result().goals:
            assert (goal.value is None) == (goal.reason is not None), goal
