"""One run of `benchmarks.scheduler`, described."""

from dataclasses import dataclass

from common.config import PlacementConfig
from router.policies import Policy, make_policy


@dataclass(frozen=True, slots=True)
class Case:
    """One run.

    Attributes:
        num_replicas: Of 100 tiles a second each.
        num_jobs: Pictures.
        policy: Of every router.
        seed: Of all draws.
        load: Work that arrives for each unit that the replicas could do.
        num_routers: Routers, each with its own view.
        held: Pictures that a replica keeps.
        num_pictures: Different ones; 0 if all differ.
        slow: Whether the first replica is four times slower.
        fails: Whether each replica is lost once.
    """

    num_replicas: int
    num_jobs: int
    policy: str = "least_work"
    seed: int = 1
    load: float = 0.8
    num_routers: int = 2
    held: int = 0
    num_pictures: int = 0
    slow: bool = False
    fails: bool = False

    def make_policy(self, router: int) -> Policy:
        """Make the policy of the router with this index."""
        return make_policy(PlacementConfig(), self.policy, self.seed * 100 + router)

    @property
    def words(self) -> str:
        """The traffic in words."""
        words = [f"{self.num_jobs:,} pictures"]
        if self.num_pictures:
            words.append(f"{self.num_pictures:,} different")
        if self.held:
            words.append(f"{self.held} held")
        if self.slow:
            words.append("first 4x slower")
        if self.fails:
            words.append("each fails once")
        return ", ".join(words)
