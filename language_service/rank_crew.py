"""The other ranks of a replica, as the first one sees them: to be gathered, and let go."""

from typing import Protocol

import torch

from language_service.rank_group import RankGroup
from language_service.sharding import Rank


class RankCrew(Protocol):
    """Processes that load their parts while the first rank loads its own."""

    @property
    def first_rank(self) -> Rank:
        """The part that the first rank holds."""

    def gather(self, device: torch.device) -> RankGroup:
        """Wait until all have loaded, and form the group.

        Args:
            device: That the first rank computes on.

        Raises:
            StartupError: One of them could not load; the message says why.
            RankLostError: One of them is gone, or does not come in time.
        """

    def dismiss(self) -> None:
        """Let them end; harmless if they are gone."""
