"""`dvd bench` on the command line: flags, exit codes, Ctrl-C."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.config import DEFAULT_MODEL
from tests.integration.idle import wait_until_idle
from tests.local_cluster import local_cluster

NOWHERE = "127.0.0.1:1"
SHIPPED = Path(DEFAULT_MODEL)
DVD = [str(Path(sys.executable).parent / "dvd")]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--goodput", "itl:5"], "--goodput takes ttft:MS"),
        (["--request-rate", "0"], "--request-rate is more than 0."),
        (["--image-resolution", "huge"], "--image-resolution takes 448x448"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(flags: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["bench", "--server", NOWHERE, *flags])
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_without_a_cluster_it_fails() -> None:
    result = CliRunner().invoke(app, ["bench", "--server", NOWHERE])
    assert result.exit_code == 1
    assert "Traceback" not in result.output


async def start(address: str, *flags: str) -> asyncio.subprocess.Process:
    command = (*DVD, "bench", "--server", address, *flags)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)


async def test_flags_reach_the_load(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    flags = (
        *("--num-prompts", "3", "--image-count", "2", "--image-resolution", "64x48"),
        *("--random-output-len", "6", "--ignore-eos", "--max-concurrency", "2", "--turns", "2"),
        *("--metric-percentiles", "50,90", "--goodput", "ttft:60000 tpot:60000"),
        *("--save-result", str(file), "--request-rate", "inf", "--seed", "3"),
    )
    async with local_cluster(SHIPPED) as cluster:
        bench = await start(cluster.address, *flags)
        shown, errors = await bench.communicate()
    assert bench.returncode == 0, errors
    assert b"Request goodput" in shown
    written = json.loads(file.read_text())
    assert (written["completed"], written["num_pictures"]) == (6, 6)
    assert written["total_output_tokens"] == 36
    assert written["request_rate"] == "inf"
    assert "p90_itl_ms" in written


async def test_ctrl_c_shows_what_there_is() -> None:
    flags = ("--num-prompts", "400", "--request-rate", "20", "--image-resolution", "32x32")
    async with local_cluster(SHIPPED) as cluster:
        bench = await start(cluster.address, *flags)
        # Words are counted without pictures, so tiles are the load's.
        while not cluster.router.admission.tiles:
            await cluster.client.model()
        bench.send_signal(signal.SIGINT)
        shown, errors = await bench.communicate()
        await wait_until_idle(cluster)
    assert bench.returncode == 130, errors
    (line,) = (line for line in shown.splitlines() if line.startswith(b"Successful requests:"))
    assert int(line.split()[-1]) < 400
    assert b"Traceback" not in errors
