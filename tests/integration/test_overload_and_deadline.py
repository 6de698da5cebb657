"""Too much at once, and too little time: each refused with its code, nothing left behind."""

from pathlib import Path

import pytest

from common.config import LanguageServiceConfig, RouterConfig
from common.errors import DeadlineExpiredError, OverloadedError
from tests import pictures
from tests.integration.holding import hold_inbox
from tests.integration.idle import wait_until_idle
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, local_cluster
from tests.reference.conversation import user

PICTURE = pictures.grid(4, 3)
LONG = wire_request((user(PICTURE, "Tell a long story."),), 3000)
SHORT = wire_request((user(PICTURE, "What is this?"),), 4)


async def test_overload_is_refused_with_a_delay(flash_model_dir: Path) -> None:
    options = ClusterOptions(
        router=RouterConfig(grpc_port=0, max_requests=1, retry_after_seconds=2.5),
        # Room for one picture, which is held: the first request stays in flight.
        language=LanguageServiceConfig(kv_tokens=16384, inbox_bytes=13 * 16 * 192 * 4),
    )
    async with local_cluster(flash_model_dir, options) as cluster:
        async with hold_inbox(cluster, num_tiles=13):
            running = cluster.client.stream(LONG)
            await anext(running)
            with pytest.raises(OverloadedError) as refused:
                await cluster.client.answer(SHORT)
            assert refused.value.retry_after_seconds == pytest.approx(2.5)
            await running.aclose()
        await wait_until_idle(cluster)
        assert (await cluster.client.answer(SHORT)).token_ids


async def test_an_expired_deadline_ends_the_request_everywhere(flash_model_dir: Path) -> None:
    async with local_cluster(flash_model_dir) as cluster:
        with pytest.raises(DeadlineExpiredError):
            await cluster.client.answer(LONG, timeout_seconds=0.05)
        await wait_until_idle(cluster)
        assert (await cluster.client.answer(SHORT)).token_ids


async def test_the_routers_own_deadline_ends_requests_without_one(flash_model_dir: Path) -> None:
    router = RouterConfig(grpc_port=0, default_deadline_seconds=0.05)
    async with local_cluster(flash_model_dir, ClusterOptions(router=router)) as cluster:
        with pytest.raises(DeadlineExpiredError):
            await cluster.client.answer(LONG, timeout_seconds=None)
        await wait_until_idle(cluster)
