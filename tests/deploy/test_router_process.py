"""A router as a child process: it says where it listens, and never outlives its supervisor."""

import asyncio
import sys

import pytest

from common.errors import StartupError
from deploy.client import InferenceClient
from deploy.router_process import RouterProcess
from tests.deploy.router_supervisor import PATIENCE_SECONDS, Supervisor
from tests.loopback import HOST


async def test_it_answers_until_it_is_stopped(supervisor: Supervisor) -> None:
    router = await supervisor.start()
    client = InferenceClient(router.ready.address)
    assert (await client.model(PATIENCE_SECONDS)).model == "tiny"
    await client.close()
    await router.stop()
    assert await router.wait() == 0
    await router.stop()


async def test_it_ends_with_its_supervisor(supervisor: Supervisor) -> None:
    router = await supervisor.start()
    router._process.stdin.close()
    assert await asyncio.wait_for(router.wait(), PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("ending", ["SIGTERM", "stdin"])
async def test_it_ends_while_it_still_waits_for_replicas(
    supervisor: Supervisor, ending: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router.server"), stdin=asyncio.subprocess.PIPE
    )
    process.stdin.write(supervisor.settings().model_dump_json().encode() + b"\n")
    await process.stdin.drain()
    await asyncio.wait_for(supervisor.followed.wait(), PATIENCE_SECONDS)
    process.terminate() if ending == "SIGTERM" else process.stdin.close()
    try:
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_port_in_use_is_told(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    first = await supervisor.start()
    port = int(first.ready.address.rpartition(":")[2])
    with pytest.raises(StartupError, match="The router did not start; its log is above"):
        await supervisor.start(port)
    await first.stop()
    log = capfd.readouterr().err
    assert f"Cannot listen on {HOST}:{port}; is the port in use?" in log
    assert "Traceback" not in log


async def test_one_that_takes_too_long_is_given_up(supervisor: Supervisor) -> None:
    with pytest.raises(StartupError, match=r"not ready after 0\.001 seconds"):
        await RouterProcess.start(supervisor.settings(), 0.001)
