"""Prometheus' own linter finds nothing in what the processes really answer.

Slow, because it takes promtool, of the Debian package that `make observe-check` unpacks into
`build/prometheus`; where it is not there this test fetches the package itself.
"""

import asyncio
import subprocess
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from common.metrics import serve_metrics
from tests.integration.test_metric_table import PROCESSES, registries
from tests.loopback import HOST

__all__ = ["registries"]

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

FOLDER = Path("build/prometheus")
PROMTOOL = FOLDER / "usr/bin/promtool"


@pytest.fixture(scope="module")
def promtool() -> Path:
    """The linter."""
    if not PROMTOOL.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "prometheus"], cwd=FOLDER, check=True)
        (package,) = FOLDER.glob("prometheus_*.deb")
        subprocess.run(["dpkg", "-x", package.name, "."], cwd=FOLDER, check=True)
    return PROMTOOL


def complaints(promtool: Path, registry: CollectorRegistry) -> str:
    """What the linter says of what a process answers to a scrape."""
    server = serve_metrics(registry, HOST)
    try:
        with urllib.request.urlopen(f"http://{HOST}:{server.port}/metrics", timeout=10) as page:
            text = page.read()
    finally:
        server.close()
    lint = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )
    return (lint.stdout + lint.stderr).decode()


@pytest.mark.parametrize("process", PROCESSES)
async def test_the_linter_is_content(
    promtool: Path, registries: dict[str, CollectorRegistry], process: str
) -> None:
    assert await asyncio.to_thread(complaints, promtool, registries[process]) == ""
