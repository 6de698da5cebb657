"""A router is killed mid answer, and its client goes on at another: failure mode 27.

Routers are real processes that are killed without warning; replicas are real and stay.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.client import InferenceClient
from deploy.router_process import RouterProcess
from protos.dvd.v1 import inference_pb2
from router.server import RouterSettings
from tests import pictures
from tests.integration.idle import wait_until_idle
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster, router_settings
from tests.reference.conversation import user

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_TOKENS = 64
PATIENCE_SECONDS = 60.0
Event = inference_pb2.GenerateResponse


@dataclass
class Routed:
    """A cluster and two routers in processes of their own."""

    cluster: LocalCluster
    settings: RouterSettings
    routers: list[RouterProcess]

    async def start(self) -> None:
        """Have two routers."""
        while len(self.routers) < 2:
            self.routers.append(await RouterProcess.start(self.settings, PATIENCE_SECONDS))

    async def kill_first(self) -> None:
        """Kill the router that is asked first, as the kernel does when memory is out."""
        router = self.routers.pop(0)
        router._process.kill()
        await router.wait()

    def client(self) -> InferenceClient:
        return InferenceClient(*(router.ready.address for router in self.routers))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def routed(flash_model_dir: Path) -> AsyncIterator[Routed]:
    options = ClusterOptions(num_language=2)
    async with local_cluster(flash_model_dir, options) as cluster:
        settings = router_settings(flash_model_dir, options, cluster.supervisor)
        made = Routed(cluster, settings, [])
        yield made
        for router in made.routers:
            await router.stop()


def asking() -> inference_pb2.GenerateRequest:
    question = (user(pictures.grid(2, 2, 3), pictures.grid(2, 1, 4), "What do you see?"),)
    request = wire_request(question, MAX_TOKENS)
    request.sampling.CopyFrom(
        inference_pb2.SamplingParameters(
            max_tokens=MAX_TOKENS, temperature=1.0, top_p=0.95, ignore_eos=True, n=2
        )
    )
    return request


def texts(events: list[Event]) -> list[str]:
    told = ["", ""]
    for event in events:
        told[event.delta.choice] += event.delta.text
    return told


def token_ids(events: list[Event]) -> list[list[int]]:
    told: list[list[int]] = [[], []]
    for event in events:
        told[event.delta.choice] += event.delta.token_ids
    return told


@pytest.mark.parametrize("num_events", [1, 2, 3, 20])
async def test_an_answer_outlives_its_router(routed: Routed, num_events: int) -> None:
    """The seed was drawn by the router that is lost; masks are those that it decided."""
    await routed.start()
    client = routed.client()
    events: list[Event] = []
    async for event in client.stream(asking()):
        events.append(event)
        if len(events) == num_events:
            await routed.kill_first()
    await client.close()
    assert client.num_resends == 1
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", "decided", *["delta"] * (len(kinds) - 3), "finished"]
    finished = events[-1].finished
    assert [end.completion_tokens for end in finished.choices] == [MAX_TOKENS] * 2
    assert list(finished.images) == list(events[1].decided.images)

    whole = asking()
    whole.sampling.seed = events[0].started.seed
    num_tiles = routed.cluster.visions[0].engine.stats.num_tiles
    undisturbed = [event async for event in routed.cluster.client.stream(whole)]
    assert token_ids(events) == token_ids(undisturbed)
    assert texts(events) == texts(undisturbed)
    assert list(finished.images) == list(undisturbed[-1].finished.images)
    assert routed.cluster.visions[0].engine.stats.num_tiles == num_tiles == 8
    await wait_until_idle(routed.cluster)


async def test_a_router_that_starts_again_learns_the_roster_and_goes_on(routed: Routed) -> None:
    """One address, whose router is killed and started again while its client waits."""
    await routed.start()
    await routed.kill_first()
    (router,) = routed.routers
    client = InferenceClient(router.ready.address)
    events: list[Event] = []
    async for event in client.stream(asking()):
        events.append(event)
        if len(events) == 20:
            await routed.kill_first()
            port = int(router.ready.address.rpartition(":")[2])
            config = routed.settings.config.model_copy(update={"grpc_port": port, "http_port": 0})
            settings = routed.settings.model_copy(update={"config": config})
            routed.routers.append(await RouterProcess.start(settings, PATIENCE_SECONDS))
    await client.close()
    assert [len(told) for told in token_ids(events)] == [MAX_TOKENS] * 2
    assert events[-1].HasField("finished")
