"""What tests on another's Ray cluster share: its nodes, a supervisor of the moment, a question."""

from collections.abc import Iterator
from contextlib import contextmanager

from ray.cluster_utils import Cluster

from deploy.client import InferenceClient
from deploy.config import DeployConfig
from deploy.control_client import ControlClient
from deploy.supervisor import ClusterReady, Supervisor
from protos.dvd.v1 import inference_pb2, supervisor_pb2
from tests import pictures
from tests.integration.requests import wire_request
from tests.reference.conversation import user

STORE_BYTES = 80 << 20


@contextmanager
def ray_nodes(num_nodes: int, num_cpus: int) -> Iterator[Cluster]:
    """A head that runs no replica, and nodes that do."""
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(num_nodes):
        cluster.add_node(num_cpus=num_cpus, object_store_memory=STORE_BYTES)
    yield cluster
    cluster.shutdown()


class Running:
    """A supervisor that has started, and a client of its router."""

    def __init__(self, supervisor: Supervisor, ready: ClusterReady) -> None:
        self.supervisor = supervisor
        self.ready = ready
        self.client = InferenceClient(ready.router.address)

    async def serving(self) -> list[supervisor_pb2.ReplicaStatus]:
        """Every replica that serves."""
        async with ControlClient(self.ready.control_address) as control:
            status = await control.status()
        is_serving = supervisor_pb2.REPLICA_STATE_SERVING
        return [each for each in status.replicas if each.state == is_serving]

    async def end(self) -> None:
        """Stop both; replicas stay."""
        await self.client.close()
        await self.supervisor.stop()


async def start(config: DeployConfig) -> Running:
    """Start a supervisor."""
    supervisor = Supervisor(config)
    return Running(supervisor, await supervisor.start())


def asking(max_tokens: int) -> inference_pb2.GenerateRequest:
    """Ask about a picture for an answer of just so many tokens."""
    request = wire_request((user(pictures.grid(2, 1, 9), "What is this?"),), max_tokens)
    request.sampling.ignore_eos = True
    return request
