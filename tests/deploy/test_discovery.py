"""Whom Prometheus is told to scrape, while replicas and routers come and go."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from common.errors import ConfigError
from common.metrics import serve_metrics
from common.types import ReplicaAddress, ReplicaRole
from deploy.discovery import Discovery, reachable, replace_file
from deploy.roster import Roster
from router.server import RouterReady
from tests.loopback import HOST

FILE = "targets.json"


def replica(name: str, incarnation: str = "first", port: int = 1) -> ReplicaAddress:
    role = ReplicaRole(name.partition("-")[0])
    return ReplicaAddress(name, role, incarnation, f"{HOST}:9", f"{HOST}:{port}", "f")


class Cluster:
    """A roster and routers that change, and the file that tells of them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.roster = Roster()
        self.routers = [
            RouterReady(address=f"{HOST}:9", http_address=f"{HOST}:5", metrics_address=f"{HOST}:7")
        ]
        self.discovery = Discovery(self.roster, lambda: self.routers, lambda: "tiny")
        self.discovery.own_address = f"{HOST}:8"

    def names(self) -> dict[str, str]:
        """Addresses in the file, by name."""
        groups = json.loads(self.file.read_bytes())
        return {group["labels"]["replica"]: group["targets"][0] for group in groups}

    async def until(self, holds: Callable[[dict[str, str]], Any]) -> None:
        """Wait until the file says something."""
        async with asyncio.timeout(20):
            while not (await asyncio.to_thread(self.file.exists) and holds(self.names())):
                pass


@asynccontextmanager
async def kept(folder: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(folder / FILE)
    await cluster.roster.put(replica("vision-0"))
    keeping = asyncio.create_task(cluster.discovery.keep(cluster.file))
    await cluster.until(lambda names: "vision-0" in names)
    yield cluster
    keeping.cancel()
    await asyncio.wait({keeping})


async def test_every_process_is_told_of_with_its_labels(tmp_path: Path) -> None:
    async with kept(tmp_path) as cluster:
        groups = json.loads(cluster.file.read_bytes())
        assert groups[0] == {
            "targets": [f"{HOST}:1"],
            "labels": {
                "role": "vision",
                "replica": "vision-0",
                "node": HOST,
                "model_name": "tiny",
            },
        }
        assert cluster.names() == {
            "vision-0": f"{HOST}:1",
            "router-0": f"{HOST}:7",
            "supervisor": f"{HOST}:8",
        }


async def test_a_replica_that_restarts_is_gone_until_it_is_back_elsewhere(tmp_path: Path) -> None:
    async with kept(tmp_path) as cluster:
        await cluster.roster.remove("vision-0")
        await cluster.until(lambda names: "vision-0" not in names)
        await cluster.roster.put(replica("vision-0", "second", port=2))
        await cluster.until(lambda names: names.get("vision-0") == f"{HOST}:2")


async def test_a_draining_replica_is_scraped_to_its_end(tmp_path: Path) -> None:
    async with kept(tmp_path) as cluster:
        await cluster.roster.put(replica("language-0", port=3))
        await cluster.until(lambda names: "language-0" in names)
        await cluster.roster.set_draining("language-0")
        assert "language-0" in {each.replica for each in cluster.discovery.targets}
        await cluster.roster.remove("language-0")
        await cluster.until(lambda names: "language-0" not in names)


async def test_a_router_that_is_added_is_told_of(tmp_path: Path) -> None:
    async with kept(tmp_path) as cluster:
        cluster.routers.append(
            RouterReady(address=f"{HOST}:9", http_address=f"{HOST}:5", metrics_address="0.0.0.0:6")
        )
        await cluster.until(lambda names: names.get("router-1") == reachable("0.0.0.0:6"))
        assert reachable("0.0.0.0:6") != "0.0.0.0:6"


async def test_the_file_ends_with_the_supervisor_and_no_draft_is_left(tmp_path: Path) -> None:
    async with kept(tmp_path) as cluster:
        assert cluster.names()
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def test_the_page_says_what_the_file_says(tmp_path: Path) -> None:
    async with kept(tmp_path) as cluster:
        pages = {"/sd": cluster.discovery.page}
        server = serve_metrics(CollectorRegistry(), HOST, pages=pages)
        try:
            page = await asyncio.to_thread(fetch, server.port)
        finally:
            server.close()
        assert page == ("application/json", cluster.file.read_bytes())


def fetch(port: int) -> tuple[str, bytes]:
    """Type and body of the page."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/sd", timeout=5) as response:
        return response.headers["Content-Type"], response.read()


def test_a_place_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="Cannot write"):
        replace_file(tmp_path / "taken" / FILE, b"[]")
