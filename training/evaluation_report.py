"""From judged samples to the rows and goals of an evaluation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from common.model_config import ModelConfig
from common.result import Goal, Result
from training.resolution_modes import Mode
from training.vocabulary import DETAIL_KINDS, Kind

SEVERAL = "2+ tiles"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sample, answered in every mode.

    Attributes:
        kind: What was asked.
        num_tiles: Over all pictures.
        right: Whether the answer is the expected one, letter by letter.
        compressed: Tiles that were compressed.
        most_compressed: Tiles that the mode can compress at most.
    """

    kind: Kind
    num_tiles: int
    right: Mapping[Mode, bool]
    compressed: Mapping[Mode, int]
    most_compressed: Mapping[Mode, int]


@dataclass(frozen=True, slots=True)
class Group:
    """Samples that are counted together.

    Attributes:
        name: As shown.
        verdicts: Theirs.
    """

    name: str
    verdicts: Sequence[Verdict]

    def those(self, name: str, wanted: Callable[[Verdict], bool]) -> "Group":
        """Those of them that are wanted."""
        return Group(name, [verdict for verdict in self.verdicts if wanted(verdict)])

    def accuracy(self, mode: Mode) -> float | None:
        """Share of right answers; None without samples."""
        right = [verdict.right[mode] for verdict in self.verdicts]
        return sum(right) / len(right) if right else None

    def compressed(self, mode: Mode) -> int:
        """Compressed tiles."""
        return sum(verdict.compressed[mode] for verdict in self.verdicts)

    def most_compressed(self, mode: Mode) -> int:
        """Tiles that a mode can compress at most."""
        return sum(verdict.most_compressed[mode] for verdict in self.verdicts)

    @property
    def num_tiles(self) -> int:
        """Tiles of all pictures."""
        return sum(verdict.num_tiles for verdict in self.verdicts)


class EvaluationReport:
    """Rows and goals of judged samples.

    Args:
        config: Of the checkpoint: tokens a tile.
        verdicts: Of all samples.
        demo_right: Demo pictures answered rightly; None where they are not there.
    """

    def __init__(
        self, config: ModelConfig, verdicts: Sequence[Verdict], demo_right: int | None = None
    ) -> None:
        self._demo_right = demo_right
        self._full = config.full_tokens_per_tile
        self._saved = self._full - config.compressed_tokens_per_tile
        self._all = Group("all", verdicts)
        # A lone tile is never compressed by the published rule.
        self._several = self._all.those(SEVERAL, lambda verdict: verdict.num_tiles > 1)
        self._several_detail = self._several.those(f"detail, {SEVERAL}", _is_detail)

    def result(self) -> Result:
        """Everything, ready to be shown and written."""
        detail = self._all.those("detail", _is_detail)
        kinds = [self._all.those(kind, partial(_is_of, kind)) for kind in Kind]
        groups = (self._all, self._several, detail, self._several_detail, *kinds)
        rows = [self._row("exact", group, group.accuracy) for group in groups]
        for group in (self._all, self._several):
            rows += self._token_rows(group)
        return Result(rows, self._goals(kinds))

    def _token_rows(self, group: Group) -> list[dict[str, object]]:
        def fewest(mode: Mode) -> int:
            return self._tokens(group, group.most_compressed(mode))

        return [
            self._row("tokens before", group, lambda _: self._tokens(group, 0)),
            self._row("tokens after", group, lambda mode: self._after(group, mode)),
            self._row("after / before", group, lambda mode: self._left(group, mode)),
            self._row("fewest tokens", group, fewest),
            self._row("compressed tiles", group, group.compressed),
            self._row("most compressed tiles", group, group.most_compressed),
        ]

    def _row(
        self, name: str, group: Group, figure: Callable[[Mode], float | None]
    ) -> dict[str, object]:
        size = len(group.verdicts)
        share = size / len(self._all.verdicts)
        return {"figure": f"{name}: {group.name}", "samples": size, "share": share} | {
            str(mode): figure(mode) for mode in Mode
        }

    def _goals(self, kinds: Sequence[Group]) -> list[Goal]:
        several, detail = self._several, self._several_detail
        by_kind = [share for kind in kinds if (share := kind.accuracy(Mode.OFF)) is not None]
        with_rule, without = several.accuracy(Mode.REQUEST), several.accuracy(Mode.OFF)
        kept = with_rule / without if with_rule is not None and without else None
        left = self._left(several, Mode.REQUEST)
        full, coarse = detail.accuracy(Mode.OFF), detail.accuracy(Mode.ALL_COMPRESSED)
        gain = full - coarse if full is not None and coarse is not None else None
        worst = min(by_kind, default=None)
        few = "too few samples" if not several.verdicts else "no right answer with ViR off"
        return [
            _goal("exact answers, ViR off, all pictures", self._all.accuracy(Mode.OFF), 0.95),
            _goal("exact answers of the worst kind, ViR off", worst, 0.85),
            _goal("accuracy with the shipped rule ÷ accuracy with ViR off", kept, 0.99, few),
            _goal("visual tokens after ÷ before, shipped rule", left, 0.5, better="lower"),
            _goal("accuracy on detail kinds, ViR off minus all compressed", gain, 0.1),
            _goal(
                "demo pictures answered rightly, of 8", self._demo_right, 7,
                "the demo's pictures are in a clone of the repository",
            ),
        ]  # fmt: skip

    def _tokens(self, group: Group, num_compressed: int) -> int:
        return self._full * group.num_tiles - self._saved * num_compressed

    def _after(self, group: Group, mode: Mode) -> int:
        return self._tokens(group, group.compressed(mode))

    def _left(self, group: Group, mode: Mode) -> float | None:
        before = self._tokens(group, 0)
        return self._after(group, mode) / before if before else None


def _is_detail(verdict: Verdict) -> bool:
    return verdict.kind in DETAIL_KINDS


def _is_of(kind: Kind, verdict: Verdict) -> bool:
    return verdict.kind is kind


def _goal(
    name: str,
    value: float | None,
    target: float,
    reason: str = "too few samples",
    better: Literal["higher", "lower"] = "higher",
) -> Goal:
    return Goal(name, value, target, better, reason if value is None else None)
