"""Channels to language replicas: one each, and no more unused ones than a few."""

from contextlib import AsyncExitStack, suppress

import grpc
import pytest

from common.errors import UnavailableError, UnreachableError
from vision_service.language_peers import MAX_UNUSED_CHANNELS, LanguagePeers


async def test_a_replica_has_one_channel() -> None:
    peers = LanguagePeers()
    async with peers.lease("127.0.0.1:1") as first, peers.lease("127.0.0.1:1") as second:
        assert first is second
    async with peers.lease("127.0.0.1:1") as later, peers.lease("127.0.0.1:2") as other:
        assert later is first
        assert other is not first
    await peers.close()


async def test_a_channel_on_which_the_replica_was_lost_is_replaced_and_its_streams_go_on() -> None:
    peers = LanguagePeers()
    async with peers.lease("127.0.0.1:1") as first:
        with suppress(UnreachableError):
            async with peers.lease("127.0.0.1:1") as second:
                assert second is first
                raise UnreachableError("lost")
        async with peers.lease("127.0.0.1:1") as third:
            assert third is not first
        first()
    with pytest.raises(grpc.aio.UsageError):
        first()
    await peers.close()


async def test_a_replica_that_refuses_keeps_its_channel() -> None:
    peers = LanguagePeers()
    with suppress(UnavailableError):
        async with peers.lease("127.0.0.1:1") as first:
            raise UnavailableError("draining")
    async with peers.lease("127.0.0.1:1") as again:
        assert again is first
    await peers.close()


async def test_channels_that_nobody_uses_are_closed_oldest_first() -> None:
    peers = LanguagePeers()
    puts = []
    for port in range(1, MAX_UNUSED_CHANNELS + 3):
        async with peers.lease(f"127.0.0.1:{port}") as put:
            puts.append(put)
    async with peers.lease("127.0.0.1:2") as kept:
        assert kept is puts[1]
    async with peers.lease("127.0.0.1:1") as renewed:
        assert renewed is not puts[0]
    with pytest.raises(grpc.aio.UsageError):
        puts[0]()
    await peers.close()


async def test_a_channel_in_use_is_kept_however_many_there_are() -> None:
    peers = LanguagePeers()
    async with AsyncExitStack() as held:
        puts = [
            await held.enter_async_context(peers.lease(f"127.0.0.1:{port}"))
            for port in range(1, MAX_UNUSED_CHANNELS + 5)
        ]
        async with peers.lease("127.0.0.1:1") as again:
            assert again is puts[0]
    await peers.close()
