"""What became of all requests of a chaos run, against what is promised."""

from collections import Counter
from dataclasses import dataclass, field

from benchmarks.chaos_cluster import Kinds
from benchmarks.chaos_requests import Ended, Outcome
from common.result import Goal, Result


@dataclass(slots=True)
class Tally:
    """What became of all requests of all seeds.

    Attributes:
        outcomes: How they ended.
        excused: UNAVAILABLE at a time in which nobody of some kind worked.
        worst: Some of what should not be, to be looked at.
        failures: What was done to the cluster.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    excused: int = 0
    worst: list[Ended] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, ended: list[Ended], kinds: Kinds) -> None:
        """Judge the requests of one seed."""
        for each in ended:
            self.outcomes[each.outcome] += 1
            touched = any(out.touches(each.began_at, each.ended_at) for out in kinds.outages)
            if each.outcome is Outcome.UNAVAILABLE and touched:
                self.excused += 1
            elif each.outcome not in (Outcome.RIGHT, Outcome.LEFT, Outcome.EXPIRED):
                self.worst.append(each)

    def goals(self, num_seeds: int) -> list[Goal]:
        """The promises."""
        count = self.outcomes
        undisturbed = count.total() - count[Outcome.LEFT] - count[Outcome.EXPIRED]
        unexcused = count[Outcome.UNAVAILABLE] - self.excused
        seeds = "ten" if num_seeds == 10 else str(num_seeds)
        return [
            Goal(
                f"chaos, {seeds} seeds: lost + duplicated + wrong",
                count[Outcome.LOST] + count[Outcome.WRONG], 0, "lower",
            ),
            Goal(
                "share of requests, neither left nor expired, that end right",
                count[Outcome.RIGHT] / max(undisturbed, 1), 0.99, "higher",
            ),
            Goal(
                "UNAVAILABLE while a healthy replica of each kind existed", unexcused, 0, "lower"
            ),
            Goal("ended with another error", count[Outcome.OTHER_ERROR], 0, "lower"),
        ]  # fmt: skip


def report(tally: Tally, num_seeds: int) -> Result:
    """Turn counts into rows and goals."""
    result = Result(goals=tally.goals(num_seeds))
    counts = {
        **{f"requests: {outcome}": tally.outcomes[outcome] for outcome in Outcome},
        "UNAVAILABLE while nobody of some kind worked": tally.excused,
        **dict(sorted(tally.failures.items())),
    }
    result.rows = [{"counted": what, "value": count} for what, count in counts.items()]
    for ended in tally.worst[:50]:
        told = f"{ended.case}: {ended.detail}"
        result.rows.append({"counted": f"bad: {ended.outcome}", "value": told})
    return result
