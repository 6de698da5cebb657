"""The real sender into a real inbox over a network that fails: healed, or one request's failure."""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest
import torch

from common.errors import DvdError, UnavailableError
from language_service.reservation import ExpectedImage, Reservation
from tests.cutting_proxy import cutting_proxy
from tests.fakes import until
from tests.language_service.receiving import (
    FORMAT,
    TILE_BYTES,
    ReceivingServer,
    manifest,
    payload,
    receiving,
)
from vision_service.sender import EmbeddingSender

WIDE = replace(FORMAT, hidden_size=1024)
WIDE_TILE_BYTES = WIDE.max_bytes(1)
CHUNK_BYTES = 64 << 10
PICTURE = ExpectedImage(b"a", 8)
WIDE_PAYLOAD = torch.randn(8 * WIDE.full_tokens, WIDE.hidden_size).numpy().tobytes()
WIDE_MANIFEST = manifest(
    num_tiles=8, hidden_size=WIDE.hidden_size, num_bytes=PICTURE.num_tiles * WIDE_TILE_BYTES
)
# Well inside the payload of an HTTP/2 frame.
DAMAGED_BYTE = 2 * CHUNK_BYTES + 1000
NUM_CHUNKS = len(WIDE_PAYLOAD) // CHUNK_BYTES
# Beside the chunks, a stream has its headers and its manifest; before them a connection is greeted,
# and where it breaks there the channel would wait a second before it tries again.
CUTS = [0, 1, 100, *(count * CHUNK_BYTES for count in range(1, NUM_CHUNKS + 1))]


async def send(sender: EmbeddingSender, address: str, timeout_seconds: float = 60) -> None:
    opening = type(WIDE_MANIFEST)()
    opening.CopyFrom(WIDE_MANIFEST)
    await sender.send(address, opening, memoryview(WIDE_PAYLOAD), timeout_seconds)


@pytest.mark.parametrize("cut", CUTS)
async def test_a_connection_that_breaks_at_any_message_is_healed(cut: int) -> None:
    arrived: list[bytes] = []
    sender = EmbeddingSender(CHUNK_BYTES)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(receiving(8, accepted=WIDE))
        reservation = await stack.enter_async_context(server.inbox.reserve("r1", [PICTURE]))
        reservation.on_arrival = lambda image: arrived.append(image.embeddings.numpy().tobytes())
        address, proxy = await stack.enter_async_context(cutting_proxy(server.address, iter([cut])))
        await send(sender, address)
        assert proxy.num_connections == 2
        # What never left is repeated by gRPC itself.
        assert sender.streams.committed == 1
        await sender.close()
    assert arrived == [WIDE_PAYLOAD]


async def test_a_bit_that_flips_on_its_way_is_seen_and_healed() -> None:
    arrived: list[bytes] = []
    sender = EmbeddingSender(CHUNK_BYTES)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(receiving(8, accepted=WIDE))
        reservation = await stack.enter_async_context(server.inbox.reserve("r1", [PICTURE]))
        reservation.on_arrival = lambda image: arrived.append(image.embeddings.numpy().tobytes())
        address, proxy = await stack.enter_async_context(cutting_proxy(server.address, iter(())))
        proxy.damaged_byte = DAMAGED_BYTE
        await send(sender, address)
        assert proxy.damaged_byte is None
        assert proxy.num_connections == 1
        await sender.close()
    assert arrived == [WIDE_PAYLOAD]


async def test_a_connection_that_always_breaks_fails_the_one_request_and_frees_its_place() -> None:
    sender = EmbeddingSender(CHUNK_BYTES)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(receiving(8, accepted=WIDE))
        await stack.enter_async_context(server.inbox.reserve("r1", [PICTURE]))
        cuts = iter([CHUNK_BYTES] * 2)
        address, _ = await stack.enter_async_context(cutting_proxy(server.address, cuts))
        with pytest.raises(UnavailableError):
            await send(sender, address)
        await send(sender, server.address)
        streams = sender.streams
        assert (streams.committed, streams.broken, streams.refused) == (1, 2, 0)
        await sender.close()


async def test_a_receiver_that_restarts_in_mid_stream_takes_the_next_picture() -> None:
    sender = EmbeddingSender(CHUNK_BYTES)
    async with receiving(8, credit_bytes=2 * CHUNK_BYTES, accepted=WIDE) as server:
        port = int(server.address.rpartition(":")[2])
        async with server.inbox.reserve("r1", [PICTURE]) as reservation:
            sending = asyncio.create_task(send(sender, server.address))
            async with asyncio.timeout(20):
                await until(lambda: num_received(reservation) > 0)
            await server.rpc.stop(0)
            with pytest.raises(UnavailableError):
                await sending
    async with receiving(8, port=port, accepted=WIDE) as again:
        async with again.inbox.reserve("r1", [PICTURE]), asyncio.timeout(30):
            # The channel is the same one and finds the new process by itself.
            while not again.inbox.received_bytes:
                await send_unless_lost(sender, again.address)
        assert again.inbox.received_bytes == len(WIDE_PAYLOAD)
    await sender.close()


def num_received(reservation: Reservation) -> int:
    """Bytes of the first picture that are in its place so far."""
    writer = reservation.slots[0].writer
    return writer.received_bytes if writer else 0


async def send_unless_lost(sender: EmbeddingSender, address: str) -> None:
    with suppress(UnavailableError):
        await send(sender, address)


async def test_200_requests_at_once_through_room_for_ten_all_arrive() -> None:
    sender, arrived = EmbeddingSender(CHUNK_BYTES), {}
    async with receiving(num_tiles=10) as server:

        async def request(number: int) -> None:
            here = asyncio.Event()
            name = f"q{number}"
            async with server.inbox.reserve(name, [ExpectedImage(b"a", 1)]) as reservation:
                reservation.on_arrival = lambda image: (
                    arrived.update({number: image.embeddings.numpy().tobytes()}),
                    here.set(),
                )
                data = memoryview(payload(number))
                await sender.send(server.address, manifest(name), data, 120)
                assert here.is_set()

        await asyncio.gather(*map(request, range(200)))
        assert server.inbox.reserved_bytes == 0
        await sender.close()
    assert arrived == {number: payload(number) for number in range(200)}


async def test_a_network_that_breaks_again_and_again_loses_only_what_it_breaks() -> None:
    """40 requests over connections of which every other one breaks somewhere."""
    sender, cuts = EmbeddingSender(CHUNK_BYTES), iter([TILE_BYTES * 7, 1 << 30, 400, 1 << 30] * 10)
    async with AsyncExitStack() as stack:
        server: ReceivingServer = await stack.enter_async_context(receiving(num_tiles=40))
        address, _ = await stack.enter_async_context(cutting_proxy(server.address, cuts))
        arrived: dict[int, bytes] = {}

        async def request(number: int) -> bool:
            name = f"q{number}"
            async with server.inbox.reserve(name, [ExpectedImage(b"a", 1)]) as reservation:
                reservation.on_arrival = lambda image: arrived.update(
                    {number: image.embeddings.numpy().tobytes()}
                )
                try:
                    await sender.send(address, manifest(name), memoryview(payload(number)), 60)
                except DvdError:
                    return False
                return True

        sent = await asyncio.gather(*map(request, range(40)))
        assert server.inbox.reserved_bytes == 0
        await sender.close()
    assert any(sent)
    assert all(arrived[number] == payload(number) for number in range(40) if sent[number])
