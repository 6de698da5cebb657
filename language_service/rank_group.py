"""The processes that hold the parts of one model, seen from one of them.

Two channels between the same ranks. Over the one the first rank tells what is to be done; an idle
replica tells nothing for hours, so others listen to it without end, and a peer that is gone closes
it. The other carries tensors within a step, which all ranks run alike. All waits but the listening
are bounded, because a rank that hangs would hold the replica, and all that it has begun, for good;
telling is such a wait too: gloo sends nothing before its receiver listens.

All ranks are on one node, and everything here listens on its loopback alone: neither channel asks
who connects. Tensors go by NCCL between GPUs, which has never run on a card yet, by gloo otherwise.
"""

import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed

from common.errors import RankLostError
from language_service.sharding import Rank

LOOPBACK = "127.0.0.1"
FIRST = 0
# An order up to this length takes one message: a step of some hundreds of answers.
NUMBERS_AT_ONCE = 2048
MAX_NUMBERS = 1 << 26
ENDLESS = timedelta(days=3650)
# PyTorch types little of what is used here. Its groups by way of `init_process_group` are one a
# process; these are as many as there are engines.
_torch: Any = distributed


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """What the ranks of a group agree on.

    Attributes:
        device: That this rank computes on.
        timeout_seconds: Longest wait for another rank within a step, and when the group is formed.
    """

    device: torch.device
    timeout_seconds: float

    @property
    def timeout(self) -> timedelta:
        """The same, as PyTorch wants it."""
        return timedelta(seconds=self.timeout_seconds)


class RankStore:
    """Where the ranks of a new group find each other; kept by the first rank."""

    def __init__(self, timeout_seconds: float) -> None:
        # Bound here, because the store itself would listen on every address of the node.
        listening = socket.create_server((LOOPBACK, 0))
        self.port: int = listening.getsockname()[1]
        self._store = _torch.TCPStore(
            LOOPBACK,
            self.port,
            is_master=True,
            timeout=timedelta(seconds=timeout_seconds),
            wait_for_workers=False,
            master_listen_fd=listening.detach(),
        )

    def form(self, size: int, settings: GroupSettings) -> "RankGroup":
        """Form the group as its first rank, once all others are there."""
        return RankGroup(Rank(FIRST, size), self._store, settings)


def join_group(rank: Rank, port: int, settings: GroupSettings) -> "RankGroup":
    """Join the group of the store at a port of this node.

    Raises:
        RankLostError: Not all ranks came in time.
    """
    try:
        store = _torch.TCPStore(LOOPBACK, port, is_master=False, timeout=settings.timeout)
    except RuntimeError as cause:
        raise RankLostError(f"Rank {rank.index} cannot reach the first rank.") from cause
    return RankGroup(rank, store, settings)


class RankGroup:
    """One rank's hold on its group; all ranks call the same methods in the same order.

    Attributes:
        rank: Which one this is.
    """

    def __init__(self, rank: Rank, store: Any, settings: GroupSettings) -> None:
        """Meet the other ranks.

        Args:
            rank: Which one this is.
            store: Where they find each other.
            settings: The same for all, but for the device.

        Raises:
            RankLostError: Not all ranks came in time.
        """
        self.rank = rank
        self._timeout = settings.timeout
        try:
            self._tensors = _tensor_channel(rank, store, settings)
            self._orders = _gloo(rank, _torch.PrefixStore("orders", store), ENDLESS)
        except RuntimeError as cause:
            raise RankLostError("Not all ranks of the group came in time.") from cause

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of the ranks' tensors, the same bits on every rank; in the tensor's own memory.

        Raises:
            RankLostError: A rank is gone, or does not come in time.
        """
        tensor = tensor.contiguous()
        # No rank has anything to add to nothing, and gloo refuses it.
        if tensor.numel():
            self._wait(self._tensors.allreduce([tensor]))
        return tensor

    def join_columns(self, tensor: torch.Tensor) -> torch.Tensor:
        """The ranks' tensors behind each other in the last dimension, on every rank.

        Raises:
            RankLostError: A rank is gone, or does not come in time.
        """
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(self.rank.size)]
        if tensor.numel():
            self._wait(self._tensors.allgather([parts], [tensor]))
        return torch.cat(parts, dim=-1)

    def spread(self, tensor: torch.Tensor) -> torch.Tensor:
        """The first rank's tensor on every rank; others give one of its shape, to be filled.

        Raises:
            RankLostError: A rank is gone, or does not come in time.
        """
        self._wait(self._tensors.broadcast([tensor], _from_first(self._timeout)))
        return tensor

    def smallest(self, number: int) -> int:
        """The smallest of the ranks' numbers.

        Raises:
            RankLostError: A rank is gone, or does not come in time.
        """
        # Over the orders' channel, which knows of no device.
        numbers = torch.tensor([number])
        options = _torch.AllreduceOptions()
        options.reduceOp, options.timeout = _torch.ReduceOp.MIN, self._timeout
        self._wait(self._orders.allreduce([numbers], options))
        return int(numbers)

    def tell(self, numbers: np.ndarray) -> None:
        """Tell the others what is to be done; first rank only.

        Args:
            numbers: [n] int32.

        Raises:
            RankLostError: A rank is gone, or does not listen in time.
        """
        head = np.zeros(NUMBERS_AT_ONCE, dtype=np.int32)
        num_first = min(len(numbers), NUMBERS_AT_ONCE - 1)
        head[0] = len(numbers)
        head[1 : 1 + num_first] = numbers[:num_first]
        self._pass_on(head, self._timeout)
        if num_first < len(numbers):
            self._pass_on(numbers[num_first:].copy(), self._timeout)

    def hear(self) -> np.ndarray:
        """Wait for what is to be done, [n] int32; every rank but the first.

        Raises:
            RankLostError: The first rank is gone.
        """
        head = np.zeros(NUMBERS_AT_ONCE, dtype=np.int32)
        self._pass_on(head, ENDLESS)
        num_numbers = int(head[0])
        if not 0 < num_numbers <= MAX_NUMBERS:
            raise RankLostError(f"The first rank has told {num_numbers} numbers.")
        if num_numbers < NUMBERS_AT_ONCE:
            return head[1 : 1 + num_numbers]
        rest = np.zeros(num_numbers - (NUMBERS_AT_ONCE - 1), dtype=np.int32)
        self._pass_on(rest, self._timeout)
        return np.concatenate([head[1:], rest])

    def _pass_on(self, numbers: np.ndarray, timeout: timedelta) -> None:
        self._wait(self._orders.broadcast([torch.from_numpy(numbers)], _from_first(timeout)))

    def _wait(self, work: Any) -> None:
        try:
            work.wait()
        except RuntimeError as cause:
            raise RankLostError(
                f"Rank {self.rank.index} of {self.rank.size} has lost another rank."
            ) from cause


def _tensor_channel(rank: Rank, store: Any, settings: GroupSettings) -> Any:
    own = _torch.PrefixStore("tensors", store)
    if settings.device.type != "cuda":
        return _gloo(rank, own, settings.timeout)
    options = _torch.ProcessGroupNCCL.Options()
    options._timeout = settings.timeout
    return _torch.ProcessGroupNCCL(own, rank.index, rank.size, options)


def _gloo(rank: Rank, store: Any, timeout: timedelta) -> Any:
    # Its usual constructor listens at the address of the host's name, which may be a public one.
    options = _torch.ProcessGroupGloo._Options()
    options._devices = [_torch.ProcessGroupGloo.create_device(hostname=LOOPBACK)]
    options._timeout = timeout
    return _torch.ProcessGroupGloo(store, rank.index, rank.size, options)


def _from_first(timeout: timedelta) -> Any:
    options = _torch.BroadcastOptions()
    options.rootRank, options.timeout = FIRST, timeout
    return options
