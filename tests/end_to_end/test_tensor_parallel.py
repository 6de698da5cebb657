"""A replica of two ranks on a real Ray cluster: exact answers, and one life for all its ranks."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from common.errors import ConfigError, UnavailableError
from common.types import ResolutionScope
from deploy.client import Answer, InferenceClient
from deploy.config import DeployConfig, load_config
from deploy.supervisor import ClusterReady, Supervisor
from tests.fakes import pass_time
from tests.integration.conversations import CONVERSATIONS
from tests.integration.requests import wire_request
from tests.reference import flash_reference

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.cluster]

RECOVERY_SECONDS = 90.0
MAX_TOKENS = 24
NAME = next(iter(CONVERSATIONS))


def settings(model_dir: Path, num_ranks: int = 2) -> DeployConfig:
    return load_config(
        None,
        {
            "model": str(model_dir),
            "router.grpc_port": 0,
            "language.service.kv_tokens": 16384,
            "language.placement.tensor_parallel_size": num_ranks,
        },
    )


class Running:
    """A supervisor and a client of its router."""

    def __init__(self, supervisor: Supervisor, ready: ClusterReady) -> None:
        self.supervisor = supervisor
        self.ready = ready
        self.client = InferenceClient(ready.router.address)

    @property
    def incarnation(self) -> str:
        """Of the language replica; empty while it does not serve."""
        found = self.supervisor.roster.find("language-0")
        return found.incarnation if found else ""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(flash_model_dir: Path) -> AsyncIterator[Running]:
    supervisor = Supervisor(settings(flash_model_dir))
    try:
        running = Running(supervisor, await supervisor.start())
        yield running
        await running.client.close()
    finally:
        await supervisor.stop()
    assert not rank_processes()


async def test_two_ranks_answer_as_transformers_does(
    running: Running, flash_model_dir: Path
) -> None:
    expected = flash_reference.answer(
        flash_model_dir, CONVERSATIONS[NAME], MAX_TOKENS, ResolutionScope.REQUEST
    )
    answer = await running.client.answer(wire_request(CONVERSATIONS[NAME], MAX_TOKENS))
    assert answer.token_ids == expected.token_ids
    assert len(rank_processes()) == 1


async def test_a_rank_that_is_killed_takes_its_replica_with_it_and_all_come_back(
    running: Running,
) -> None:
    request = wire_request(CONVERSATIONS[NAME], MAX_TOKENS)
    undisturbed = await running.client.answer(request)
    before, (process,) = running.incarnation, rank_processes()
    os.kill(process, signal.SIGKILL)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while running.incarnation in ("", before):
            await pass_time(0.1)
    assert (await answer_again(running.client)).token_ids == undisturbed.token_ids
    (successor,) = rank_processes()
    assert successor != process


async def answer_again(client: InferenceClient) -> Answer:
    """Ask until the cluster answers."""
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            try:
                return await client.answer(wire_request(CONVERSATIONS[NAME], MAX_TOKENS))
            except UnavailableError:
                continue


async def test_a_size_that_does_not_divide_is_refused_before_anything_is_placed(
    flash_model_dir: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"tensor_parallel_size is 7, but the model has"):
        await Supervisor(settings(flash_model_dir, num_ranks=7)).start()


def rank_processes() -> list[int]:
    """Processes of ranks beside the first that have come from this one."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _title(entry).startswith("ray::RankActor") and _is_ours(entry)
    ]


def _title(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:  # it has ended
        return ""


def _is_ours(process: Path) -> bool:
    while process.name not in ("0", "1"):
        if process.name == str(os.getpid()):
            return True
        try:
            status = (process / "status").read_text()
        except OSError:
            return False
        (parent,) = [line for line in status.splitlines() if line.startswith("PPid:")]
        process = process.parent / parent.split()[1]
    return False
