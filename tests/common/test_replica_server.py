"""What every replica is made of: an identity, two listeners, an order of starting and stopping."""

import urllib.error
import urllib.request
from concurrent.futures import Future

import pytest
from prometheus_client import CollectorRegistry, Gauge

from common.engine_thread import EngineThread
from common.errors import ConfigError
from common.health_probe import HealthProbe
from common.replica_server import ReplicaServer, new_identity, server_info
from common.rpc import open_channel
from common.types import ReplicaAddress, ReplicaRole
from common.work_gate import WorkGate
from protos.dvd.v1 import embedding_pb2, replica_pb2
from tests.loopback import HOST

IDENTITY = new_identity("vision-0", ReplicaRole.VISION, "fingerprint")
SERVICE = "dvd.v1.VisionService"
PROBE = HealthProbe(Future, EngineThread("engine", lambda: False, lambda: None), 0.0)


def server() -> ReplicaServer:
    registry = CollectorRegistry()
    Gauge("dvd_weight_bytes", "Tensor bytes held.", registry=registry).set(7)
    return ReplicaServer(IDENTITY, registry, 1 << 20, PROBE, WorkGate())


def scrape(address: ReplicaAddress) -> str:
    with urllib.request.urlopen(f"http://{address.metrics_address}/metrics") as response:
        text: str = response.read().decode()
    return text


def test_every_start_is_another_incarnation() -> None:
    again = new_identity("vision-0", ReplicaRole.VISION, "fingerprint")
    assert again.incarnation != IDENTITY.incarnation
    assert (again.name, again.role, again.fingerprint) == (
        "vision-0",
        ReplicaRole.VISION,
        "fingerprint",
    )


@pytest.mark.parametrize(
    ("role", "wire"),
    [
        (ReplicaRole.VISION, replica_pb2.REPLICA_ROLE_VISION),
        (ReplicaRole.LANGUAGE, replica_pb2.REPLICA_ROLE_LANGUAGE),
    ],
)
def test_a_replica_tells_who_it_is(role: ReplicaRole, wire: replica_pb2.ReplicaRole) -> None:
    identity = new_identity("replica", role, "fingerprint")
    info = server_info(identity, 24, 1 << 40, embedding_pb2.D_TYPE_BFLOAT16)
    assert info == replica_pb2.ServerInfo(
        replica=replica_pb2.Replica(
            name="replica",
            role=wire,
            incarnation=identity.incarnation,
            fingerprint="fingerprint",
        ),
        hidden_size=24,
        weight_bytes=1 << 40,
        dtype=embedding_pb2.D_TYPE_BFLOAT16,
    )


async def test_it_says_where_it_listens_and_listens_there() -> None:
    made = server()
    address = await made.start(HOST, SERVICE)
    assert (address.name, address.role) == ("vision-0", ReplicaRole.VISION)
    assert (address.incarnation, address.fingerprint) == (IDENTITY.incarnation, "fingerprint")
    async with open_channel(address.address) as channel:
        await channel.channel_ready()
    assert "dvd_weight_bytes 7.0" in scrape(address)
    await made.stop(0)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])  # noqa: S104
async def test_mode_21_an_address_that_others_cannot_reach_is_never_advertised(host: str) -> None:
    with pytest.raises(ConfigError, match="where others reach it"):
        await server().start(host, SERVICE)


async def test_stopping_ends_both_listeners() -> None:
    made = server()
    address = await made.start(HOST, SERVICE)
    await made.stop(0)
    with pytest.raises(urllib.error.URLError):
        scrape(address)


async def test_stopping_what_never_started_is_harmless() -> None:
    await server().stop(0)
