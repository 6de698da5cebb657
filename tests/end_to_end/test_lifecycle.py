"""A cluster that is operated while it answers: drained, told to end, its routers killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from rich.console import Console

from common.errors import DvdError, InvalidRequestError, WrongStateError
from deploy.client import Answer, InferenceClient
from deploy.config import load_config
from deploy.control_client import ControlClient
from deploy.status_table import print_status
from deploy.supervisor import ClusterReady, Supervisor
from protos.dvd.v1 import inference_pb2, replica_pb2, supervisor_pb2
from tests import pictures
from tests.fakes import pass_time
from tests.integration.requests import wire_request
from tests.reference.conversation import user
from training.build_checkpoint import CheckpointOptions, build_checkpoint

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.cluster,
    pytest.mark.timeout(900),
]

PATIENCE_SECONDS = 120.0
NUM_TOKENS = 400


def asking(max_tokens: int, seed: int = 1) -> inference_pb2.GenerateRequest:
    """A request with a picture whose answer has exactly so many tokens."""
    request = wire_request((user(pictures.grid(2, 1, seed), "What is this?"),), max_tokens)
    request.sampling.ignore_eos = True
    return request


class Operated:
    """A cluster, its operator and its clients."""

    def __init__(self, supervisor: Supervisor, ready: ClusterReady) -> None:
        self.supervisor = supervisor
        self.ready = ready
        self.clients = [InferenceClient(router.address) for router in ready.routers]
        self.client = self.clients[0]

    async def status(self) -> supervisor_pb2.GetStatusResponse:
        async with ControlClient(self.ready.control_address) as control:
            return await control.status()

    async def states(self) -> dict[str, str]:
        """The state of every replica, by name."""
        name = supervisor_pb2.ReplicaState.Name
        status = await self.status()
        return {each.replica.name: name(each.state) for each in status.replicas}

    async def until_all_serve(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while set((await self.states()).values()) != {"REPLICA_STATE_SERVING"}:
                await pass_time(0.1)
            for client in self.clients:
                while True:
                    try:
                        await client.answer(asking(1))
                        break
                    except DvdError:
                        await pass_time(0.1)

    async def begin(self, number: int) -> list[asyncio.Task[Answer]]:
        """Begin long answers, and wait until all have tokens."""
        tasks = [asyncio.create_task(self.client.answer(asking(NUM_TOKENS))) for _ in range(number)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self._running()) < number:
                assert not any(task.done() for task in tasks)
        return tasks

    async def _running(self) -> int:
        status = await self.status()
        languages = [each for each in status.replicas if each.replica.name.startswith("language")]
        return sum(each.load.running_requests for each in languages)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(flash_model_dir: Path) -> AsyncIterator[Operated]:
    overrides = {
        "model": str(flash_model_dir),
        "router.grpc_port": 0,
        "routers": 2,
        "vision.placement.replicas": 2,
        "language.placement.replicas": 2,
        "language.service.kv_tokens": 16384,
    }
    supervisor = Supervisor(load_config(None, overrides))
    try:
        operated = Operated(supervisor, await supervisor.start())
        yield operated
        for client in operated.clients:
            await client.close()
    finally:
        await supervisor.stop()


async def test_status_shows_everyone(cluster: Operated) -> None:
    await cluster.until_all_serve()
    status = await cluster.status()
    names = ["language-0", "language-1", "vision-0", "vision-1"]
    assert [each.replica.name for each in status.replicas] == names
    assert [each.is_serving for each in status.routers] == [True, True]
    console = Console(record=True, width=200)
    print_status(status, console)
    shown = console.export_text()
    for each in status.replicas:
        assert each.replica.incarnation
        assert each.replica.incarnation[:8] in shown
    assert all(router.address in shown for router in cluster.ready.routers)


async def test_mode_27_both_routers_answer_alike(cluster: Operated) -> None:
    answers = [await client.answer(asking(8)) for client in cluster.clients]
    assert answers[0].token_ids == answers[1].token_ids


@pytest.mark.parametrize("name", ["language-0", "vision-0"])
async def test_mode_26_a_replica_is_drained_under_load_without_a_lost_token(
    cluster: Operated, name: str
) -> None:
    await cluster.until_all_serve()
    expected = (await cluster.client.answer(asking(NUM_TOKENS))).token_ids
    begun = await cluster.begin(2)
    async with ControlClient(cluster.ready.control_address) as control:
        await control.drain(name)
        assert (await cluster.states())[name] == "REPLICA_STATE_DRAINED"
        assert [(await task).token_ids for task in begun] == [expected] * 2
        assert (await cluster.client.answer(asking(8, seed=2))).token_ids
        with pytest.raises(WrongStateError, match="is the last"):
            await control.drain(name.replace("0", "1"))
        with pytest.raises(WrongStateError, match="is drained"):
            await control.drain(name)
        await control.bring_back(name)
    await cluster.until_all_serve()


async def test_an_operators_mistake_is_told(cluster: Operated) -> None:
    async with ControlClient(cluster.ready.control_address) as control:
        with pytest.raises(InvalidRequestError, match="there are language-0, language-1, vision-0"):
            await control.drain("vision-9")
        with pytest.raises(WrongStateError, match="not drained"):
            await control.bring_back("vision-0")


@pytest.mark.parametrize("role", ["language", "vision"])
async def test_mode_26_replicas_that_get_sigterm_end_what_they_have_begun(
    cluster: Operated, role: str
) -> None:
    await cluster.until_all_serve()
    expected = (await cluster.client.answer(asking(NUM_TOKENS))).token_ids
    before = await entry(cluster, f"{role}-0")
    begun = await cluster.begin(2)
    os.kill(process_at(before.address), signal.SIGTERM)
    assert [(await task).token_ids for task in begun] == [expected] * 2
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await entry(cluster, before.name)).incarnation in ("", before.incarnation):
            await pass_time(0.1)


async def test_mode_27_a_killed_router_comes_back_where_it_was(cluster: Operated) -> None:
    await cluster.until_all_serve()
    router = cluster.supervisor.routers[0]
    os.kill(router._process._process.pid, signal.SIGKILL)
    assert (await cluster.clients[1].answer(asking(8))).token_ids
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not router.restarts:
            await pass_time(0.05)
    assert (await cluster.clients[0].answer(asking(8))).token_ids
    assert [each.restarts for each in (await cluster.status()).routers] == [1, 0]


@pytest.mark.slow
async def test_a_roll_answers_every_request_with_one_model(
    cluster: Operated, tmp_path: Path
) -> None:
    await cluster.until_all_serve()
    build_checkpoint(tmp_path, CheckpointOptions(dtype="float32", seed=5))
    before = await cluster.status()
    old = (await cluster.client.answer(asking(60))).token_ids
    stop, seen = asyncio.Event(), set()

    async def ask_again_and_again(client: InferenceClient) -> None:
        while not stop.is_set():
            seen.add(tuple((await client.answer(asking(60))).token_ids))

    asked = [asyncio.create_task(ask_again_and_again(client)) for client in cluster.clients * 2]
    async with ControlClient(cluster.ready.control_address) as control:
        fingerprint = await control.roll(str(tmp_path), None)
        with pytest.raises(WrongStateError, match="served already"):
            await control.roll(str(tmp_path), None)
    new = (await cluster.client.answer(asking(60))).token_ids
    stop.set()
    await asyncio.gather(*asked)
    assert seen == {tuple(old), tuple(new)}, "an answer of neither model"
    after = await cluster.status()
    assert after.model == before.model
    assert {each.replica.fingerprint for each in after.replicas} == {fingerprint}
    assert len(after.replicas) == 4
    assert [each.address for each in after.routers] == [each.address for each in before.routers]


@pytest.mark.slow
async def test_a_roll_to_what_cannot_be_served_changes_nothing(
    cluster: Operated, tmp_path: Path
) -> None:
    before = (await cluster.client.answer(asking(8))).token_ids
    (tmp_path / "config.json").write_text("{}")
    async with ControlClient(cluster.ready.control_address) as control:
        with pytest.raises(DvdError, match="model_type"):
            await control.roll(str(tmp_path), None)
    assert (await cluster.client.answer(asking(8))).token_ids == before


async def entry(cluster: Operated, name: str) -> replica_pb2.Replica:
    """A replica as the supervisor knows it now."""
    status = await cluster.status()
    (one,) = [each.replica for each in status.replicas if each.replica.name == name]
    return one


def process_at(address: str) -> int:
    """The process that listens at an address of this machine, by /proc."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    listening = {
        fields[9]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path("/proc/net", table).read_text().splitlines()[1:])
        if fields[1].endswith(port) and fields[3] == "0A"
    }
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(link.readlink()).removeprefix("socket:[").removesuffix("]") in listening:
                return int(link.parts[2])
    raise AssertionError(f"nobody listens at {address}")
