"""Follow the supervisor's roster; without the supervisor the last one stays in force."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from common.errors import DvdError
from common.rpc import each, open_channel
from common.types import ReplicaAddress, ReplicaRole
from protos.dvd.v1 import replica_pb2, replica_pb2_grpc

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.5
ROLES = {
    replica_pb2.REPLICA_ROLE_VISION: ReplicaRole.VISION,
    replica_pb2.REPLICA_ROLE_LANGUAGE: ReplicaRole.LANGUAGE,
}

OnRoster = Callable[[Sequence[ReplicaAddress]], Awaitable[None]]


async def follow_roster(supervisor: str, on_roster: OnRoster) -> None:
    """Pass on every roster until cancelled.

    Args:
        supervisor: `host:port` of the supervisor's roster service.
        on_roster: Told every roster, whole.
    """
    channel = open_channel(supervisor)
    stub = replica_pb2_grpc.RosterServiceStub(channel)
    is_away = False
    try:
        while True:
            try:
                async for response in each(stub.WatchRoster(replica_pb2.WatchRosterRequest())):
                    is_away = False
                    await on_roster([_address(replica) for replica in response.replicas])
            except DvdError as error:
                if not is_away:
                    log.warning("roster stream broke, keeping the last one: %s", error.message)
                is_away = True
            await asyncio.sleep(RECONNECT_SECONDS)
    finally:
        await channel.close()


def _address(wire: replica_pb2.Replica) -> ReplicaAddress:
    return ReplicaAddress(
        name=wire.name,
        role=ROLES[wire.role],
        incarnation=wire.incarnation,
        address=wire.address,
        metrics_address=wire.metrics_address,
        fingerprint=wire.fingerprint,
        is_draining=wire.is_draining,
    )
