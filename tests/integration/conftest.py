"""A cluster in one process for the tests of one module, and a client of its HTTP door."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from openai import AsyncOpenAI

from tests.integration.idle import wait_until_idle
from tests.integration.openai_requests import base_url
from tests.local_cluster import LocalCluster, local_cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(flash_model_dir: Path) -> AsyncIterator[LocalCluster]:
    """One replica of each role; idle again at the end."""
    async with local_cluster(flash_model_dir) as running:
        yield running
        await wait_until_idle(running)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(cluster: LocalCluster) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client; it tries nothing twice."""
    async with AsyncOpenAI(api_key="unused", base_url=base_url(cluster), max_retries=0) as made:
        yield made
