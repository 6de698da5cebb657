"""`docs/metrics.md` and what the processes export: the same names, types and labels."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from deploy.config import DeployConfig
from deploy.deployment import DeployedModel, Deployment
from tests import pictures
from tests.integration.requests import wire_request
from tests.local_cluster import local_cluster
from tests.reference.conversation import user

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION = wire_request((user(pictures.grid(2, 2, 7), "What do you see?"),), 8)

TABLE = Path("docs/metrics.md")
ROW = re.compile(r"^\| `(dvd_\w+)` \| (\w+) \| ([\w, ]*)\| ([\w, ]+) \|", re.MULTILINE)
PROCESSES = ("router", "vision", "language", "supervisor")

# Name, type and labels of one metric.
Declared = tuple[str, str, frozenset[str]]


def documented(process: str) -> set[Declared]:
    """What the tables say that a process exports."""
    found = set()
    for name, kind, labels, processes in ROW.findall(TABLE.read_text()):
        if processes == "all" or process in processes.split(", "):
            found.add((name, kind, frozenset(filter(None, map(str.strip, labels.split(","))))))
    return found


def exported(registry: CollectorRegistry) -> set[Declared]:
    """What a process exports, process metrics apart."""
    return {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
        )
        for family in registry.collect()
        if not family.name.startswith("process_")
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registries(flash_model_dir: Path) -> AsyncIterator[dict[str, CollectorRegistry]]:
    """Those of a cluster that has answered about a picture."""
    async with local_cluster(flash_model_dir) as cluster:
        await cluster.client.answer(QUESTION)
        deployment = Deployment(
            DeployedModel(DeployConfig(), flash_model_dir, "fingerprint"), pytest.fail
        )
        yield {
            "router": cluster.router.metrics.registry,
            "vision": cluster.visions[0].registry,
            "language": cluster.languages[0].registry,
            "supervisor": deployment.metrics.registry,
        }


@pytest.mark.parametrize("process", PROCESSES)
async def test_the_table_is_what_a_process_exports(
    registries: dict[str, CollectorRegistry], process: str
) -> None:
    assert exported(registries[process]) == documented(process)


@pytest.mark.parametrize("process", PROCESSES)
async def test_every_process_tells_of_itself(
    registries: dict[str, CollectorRegistry], process: str
) -> None:
    assert registries[process].get_sample_value("process_cpu_seconds_total")
