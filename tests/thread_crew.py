"""The other ranks of a replica as threads of the test's own process."""

import threading

import torch

from common.config import LanguageServiceConfig
from common.replica_server import ReplicaSpec
from language_service.following_rank import FollowingRank
from language_service.rank_group import GroupSettings, RankGroup, RankStore
from language_service.sharding import Rank
from language_service.step_wire import encode_end

END_SECONDS = 60.0


class ThreadCrew:
    """A `RankCrew` without processes; an error of a rank is raised when it is let go."""

    def __init__(self, spec: ReplicaSpec, config: LanguageServiceConfig, size: int) -> None:
        self.first_rank = Rank(0, size)
        self._timeout_seconds = config.rank_timeout_seconds
        self._ranks = [FollowingRank(spec, config, Rank(index, size)) for index in range(1, size)]
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self._group: RankGroup | None = None

    def gather(self, device: torch.device) -> RankGroup:
        """See `RankCrew`."""
        store = RankStore(self._timeout_seconds)
        for rank in self._ranks:
            thread = threading.Thread(target=self._follow, args=(rank, store.port), daemon=True)
            thread.start()
            self._threads.append(thread)
        settings = GroupSettings(device, self._timeout_seconds)
        self._group = store.form(self.first_rank.size, settings)
        return self._group

    def dismiss(self) -> None:
        """See `RankCrew`."""
        if self._group is None:
            return
        self._group.tell(encode_end())
        for thread in self._threads:
            thread.join(END_SECONDS)
            assert not thread.is_alive()
        for error in self._errors:
            raise error

    def _follow(self, rank: FollowingRank, port: int) -> None:
        try:
            rank.follow(port)
        except BaseException as error:  # noqa: BLE001  # raised by the test's own thread
            self._errors.append(error)
