"""Calls to the supervisor of a running deployment."""

from typing import Self

from common.errors import UnavailableError, UnreachableError
from common.rpc import call, open_channel
from protos.dvd.v1 import supervisor_pb2, supervisor_pb2_grpc

STATUS_SECONDS = 10.0


class ControlClient:
    """One channel to one supervisor; a context manager."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = open_channel(address)
        self._stub = supervisor_pb2_grpc.SupervisorServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def status(self) -> supervisor_pb2.GetStatusResponse:
        """Ask what runs, and how it is.

        Raises:
            UnavailableError: There is no supervisor.
        """
        request = supervisor_pb2.GetStatusRequest()
        try:
            return await call(self._stub.GetStatus(request, timeout=STATUS_SECONDS))
        except UnreachableError as error:
            raise self._not_there() from error

    async def drain(self, name: str) -> None:
        """Take a replica out and wait until it is.

        Raises:
            InvalidRequestError: There is no such replica.
            WrongStateError: It cannot be taken out now.
            UnavailableError: There is no supervisor.
        """
        try:
            await call(self._stub.DrainReplica(supervisor_pb2.DrainReplicaRequest(name=name)))
        except UnreachableError as error:
            raise self._not_there() from error

    async def bring_back(self, name: str) -> None:
        """Start a drained replica and wait until it serves.

        Raises:
            InvalidRequestError: There is no such replica.
            WrongStateError: It is not drained.
            UnavailableError: There is no supervisor, or the cluster has no room.
        """
        try:
            await call(self._stub.ReturnReplica(supervisor_pb2.ReturnReplicaRequest(name=name)))
        except UnreachableError as error:
            raise self._not_there() from error

    async def roll(self, model: str, revision: str | None) -> str:
        """Exchange the model and wait until it is served; its fingerprint.

        Raises:
            WrongStateError: That model is served already, or a roll is under way.
            DvdError: It cannot be served; the old one goes on.
        """
        request = supervisor_pb2.RollModelRequest(model=model, revision=revision or "")
        try:
            return (await call(self._stub.RollModel(request))).fingerprint
        except UnreachableError as error:
            raise self._not_there() from error

    def _not_there(self) -> UnavailableError:
        return UnavailableError(
            f"No supervisor answers at {self._address}; dvd serve logs where its own is."
        )
