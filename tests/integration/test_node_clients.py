"""Clients of another language, as npm has them: `openai`, and grpc-js with the proto files."""

import asyncio
import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.integration.openai_requests import MAX_TOKENS, ONE, PICTURE, base_url
from tests.integration.requests import wire_request
from tests.local_cluster import LocalCluster

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,  # npm needs the network
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
]

HERE = Path(__file__).parent / "node"
ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clients, installed."""
    made = tmp_path_factory.mktemp("node")
    shutil.copytree(HERE, made, dirs_exist_ok=True)
    await run(made, "npm", "install", "--no-audit", "--no-fund", "--silent")
    return made


async def run(folder: Path, *command: str) -> str:
    """Run one command to its end; what it printed."""
    # Loopback is reached directly, whatever proxy the registry needs.
    environ = {**os.environ, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return printed.decode()


async def test_the_openai_package(cluster: LocalCluster, folder: Path) -> None:
    url = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    told = json.loads(await run(folder, "node", "openai_client.mjs", base_url(cluster), url))
    expected = await cluster.client.answer(wire_request(ONE, MAX_TOKENS))
    assert told["model"] == "tiny"
    assert told["text"] == told["streamed"] == expected.text
    assert told["usage"]["visual_tokens"] == expected.finished.usage.visual_tokens
    assert told["refused"] == {"status": 400, "param": "response_format.type"}


async def test_grpc_js_from_the_proto_files(
    cluster: LocalCluster, folder: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(PICTURE)
    command = ("node", "grpc_client.mjs", cluster.address, str(ROOT), str(picture))
    told: dict[str, Any] = json.loads(await run(folder, *command))
    expected = await cluster.client.answer(wire_request(ONE, MAX_TOKENS))
    assert (told["model"], told["text"]) == ("tiny", expected.text)
    assert told["usage"]["visual_tokens"] == expected.finished.usage.visual_tokens
    assert told["refused"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
