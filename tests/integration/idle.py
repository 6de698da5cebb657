"""Whether a cluster holds anything on behalf of any request."""

import asyncio

from tests.local_cluster import LocalCluster

DEADLINE_SECONDS = 10.0


def held(cluster: LocalCluster) -> dict[str, int]:
    """Everything that must be zero when no request is under way."""
    admission = cluster.router.admission
    return {
        "admitted requests": admission.requests,
        "admitted tiles": admission.tiles,
        "admitted tokens": admission.tokens,
        "retained picture bytes": admission.image_bytes,
        "tiles to encode": sum(each.engine.outstanding_tiles for each in cluster.visions),
        "features in use": sum(each.cache.referenced_bytes for each in cluster.visions),
        "reserved inbox bytes": sum(each.inbox.reserved_bytes for each in cluster.languages),
        "waiting reservations": sum(each.inbox.waiting_requests for each in cluster.languages),
        "running sequences": sum(each.engine.running_requests for each in cluster.languages),
        "waiting sequences": sum(each.engine.waiting_requests for each in cluster.languages),
        "KV tokens": sum(each.engine.used_kv_tokens for each in cluster.languages),
    }


async def wait_until_idle(cluster: LocalCluster) -> None:
    """Wait until nothing is held; each look is one call to the router apart."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while any(held(cluster).values()):
                await cluster.client.model()
    except TimeoutError:
        left = {name: count for name, count in held(cluster).items() if count}
        raise AssertionError(f"still held: {left}") from None
