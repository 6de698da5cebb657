"""Embedding streams through a real server into a real inbox: every fault is told and heals."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import (
    DvdError,
    EmbeddingRejectedError,
    InvalidRequestError,
    MismatchError,
    SlotTakenError,
    UnavailableError,
)
from common.rpc import each, peer_errors
from common.stream_codec import StreamMessage, encode_message
from language_service.reservation import ArrivedImage, ExpectedImage, Reservation
from protos.dvd.v1 import embedding_pb2, language_pb2_grpc
from tests.fakes import until
from tests.language_service.receiving import (
    FORMAT,
    TILE_BYTES,
    ReceivingServer,
    Response,
    chunk,
    chunks,
    manifest,
    payload,
    receiving,
)

DATA = payload(0)
WHOLE = chunk(DATA, 0, len(DATA))
ONE_TILE = ExpectedImage(b"a", 1)
HALF = len(DATA) // 2
GOOD = (manifest(), WHOLE)
BF16 = embedding_pb2.D_TYPE_BFLOAT16
NOT_FINITE = torch.full((FORMAT.full_tokens, FORMAT.hidden_size), float("nan")).numpy().tobytes()


def arrivals(reservation: Reservation) -> dict[int, bytes]:
    """The bytes of every picture of a request, as it comes."""
    arrived: dict[int, bytes] = {}

    def note(image: ArrivedImage) -> None:
        assert image.image_index not in arrived
        arrived[image.image_index] = image.embeddings.numpy().tobytes()

    reservation.on_arrival = note
    return arrived


async def heals(server: ReceivingServer, reservation: Reservation) -> None:
    """After a fault the place is free, and the same attempt may fill it."""
    await until_free(reservation)
    arrived = arrivals(reservation)
    answers = await server.put(*GOOD)
    assert answers[-1].committed.num_bytes == len(DATA)
    assert arrived == {0: DATA}


async def read_all(stream: Any) -> list[Response]:
    """Everything that a stream still has to say."""
    answers: list[Response] = []
    with peer_errors():
        while isinstance(answer := await stream.read(), Response):
            answers.append(answer)
    return answers


async def until_free(reservation: Reservation) -> None:
    async with asyncio.timeout(20):
        await until(lambda: reservation.slots[0].writer is None)


FAULTS: dict[str, tuple[Sequence[StreamMessage], type[DvdError], str]] = {
    "nothing at all": ((), EmbeddingRejectedError, "opens with its manifest"),
    "no manifest": ((WHOLE,), EmbeddingRejectedError, "opens with its manifest"),
    "two manifests": ((manifest(), manifest()), EmbeddingRejectedError, "Only chunks may follow"),
    "truncated": ((manifest(), chunk(DATA, 0, HALF)), EmbeddingRejectedError, "ended after 128"),
    "no chunk": ((manifest(),), EmbeddingRejectedError, "ended after 0 of 256"),
    "reordered": (
        (manifest(), *reversed(chunks(DATA, 2))), EmbeddingRejectedError, "expected is 0",
    ),
    "duplicated": (
        (manifest(), chunks(DATA, 2)[0], *chunks(DATA, 2)), EmbeddingRejectedError,
        "starts at byte 0; expected is 128",
    ),
    "a gap": (
        (manifest(), chunks(DATA, 4)[0], chunks(DATA, 4)[2]), EmbeddingRejectedError,
        "starts at byte 128; expected is 64",
    ),
    "after the end": ((manifest(), WHOLE, WHOLE), EmbeddingRejectedError, "expected is 256"),
    "an empty chunk": ((manifest(), chunk(DATA, 0, 0)), EmbeddingRejectedError, "or is empty"),
    "corrupt": (
        (manifest(), replace(WHOLE, checksum=WHOLE.checksum ^ 1)), UnavailableError,
        "The chunk at byte 0 fails its checksum.",
    ),
    "not finite": (
        (manifest(), chunk(NOT_FINITE, 0, 256)), EmbeddingRejectedError, "not finite",
    ),
    "another model": (
        (manifest(model_fingerprint="theirs"), WHOLE), MismatchError,
        "Model fingerprint differs: the sender has theirs, the receiver ours.",
    ),
    "another element type": (
        (manifest(dtype=BF16), WHOLE), MismatchError,
        "the sender has torch.bfloat16, the receiver torch.float32",
    ),
    "another width": ((manifest(hidden_size=5), WHOLE), MismatchError, "has 5, the receiver 4"),
    "another tile count": (
        (manifest(num_tiles=2), WHOLE), EmbeddingRejectedError, "2 tiles, the request 1",
    ),
    "impossible tokens": (
        (manifest(tile_tokens=[15]), WHOLE), EmbeddingRejectedError, "15 visual tokens",
    ),
    "another byte count": (
        (manifest(num_bytes=255), WHOLE), EmbeddingRejectedError, "255 bytes; its tiles need 256",
    ),
    "a giant": (
        (manifest(num_bytes=2**60), WHOLE), EmbeddingRejectedError, "its tiles need 256",
    ),
    "a giant that adds up": (
        (manifest(num_tiles=10_000), WHOLE), EmbeddingRejectedError, "10000 tiles, the request 1",
    ),
    "a giant manifest": (
        (manifest(tile_tokens=[16] * 100_000), WHOLE), EmbeddingRejectedError, "it may have 65536",
    ),
    "another request": (
        (manifest("r2"), WHOLE), EmbeddingRejectedError, "No request waits",
    ),
    "another place": (
        (manifest(image_index=1), WHOLE), EmbeddingRejectedError, "No request waits",
    ),
    "another picture": (
        (manifest(image_key=b"b"), WHOLE), EmbeddingRejectedError, "another picture",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_refused_in_its_own_words_and_heals(name: str) -> None:
    messages, error_class, sentence = FAULTS[name]
    async with receiving() as server, server.inbox.reserve("r1", [ONE_TILE]) as reservation:
        with pytest.raises(error_class) as refused:
            await server.put(*messages)
        assert sentence in refused.value.message
        await heals(server, reservation)


async def test_one_flipped_bit_is_seen() -> None:
    data = bytearray(encode_message(WHOLE))
    data[-100] ^= 1
    async with receiving() as server, server.inbox.reserve("r1", [ONE_TILE]) as reservation:
        with pytest.raises(UnavailableError, match="fails its checksum"):
            await server.put_raw(encode_message(manifest()), bytes(data))
        await heals(server, reservation)


@pytest.mark.parametrize("num_before", [0, 1, 2])
@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (b"\x12\x7f", "unreadable"),
        (b"", "neither a manifest nor a chunk"),
        (b"\x12\x05\x82\x01\x02ab", "no payload of a kind that is known here"),
    ],
)
async def test_a_message_that_is_none_is_refused_wherever_it_comes(
    num_before: int, message: bytes, sentence: str
) -> None:
    good = [encode_message(each) for each in (manifest(), *chunks(DATA, 2))]
    async with receiving() as server, server.inbox.reserve("r1", [ONE_TILE]) as reservation:
        with pytest.raises(EmbeddingRejectedError, match=sentence):
            await server.put_raw(*good[:num_before], message)
        await heals(server, reservation)


async def test_a_message_above_the_bound_is_refused_before_it_is_read() -> None:
    async with receiving() as server, server.inbox.reserve("r1", [ONE_TILE]) as reservation:
        with pytest.raises((InvalidRequestError, UnavailableError)):
            await server.put_raw(encode_message(manifest()), bytes(9 << 20))
        await heals(server, reservation)


async def test_a_peer_with_protobuf_alone_is_understood() -> None:
    async with receiving() as server, server.inbox.reserve("r1", [ONE_TILE]) as reservation:
        arrived = arrivals(reservation)
        put = embedding_pb2.PutEmbeddingsRequest
        body = embedding_pb2.EmbeddingChunk(checksum=WHOLE.checksum, inline=WHOLE.data)
        stub = language_pb2_grpc.LanguageServiceStub(server.channel)
        call = stub.PutEmbeddings(iter([put(manifest=manifest()), put(chunk=body)]))
        kinds = [answer.WhichOneof("message") async for answer in call]
    assert kinds == ["credit", "committed"]
    assert arrived == {0: DATA}


@pytest.mark.parametrize("num_messages", range(5))
async def test_a_stream_cut_at_any_message_frees_its_place(num_messages: int) -> None:
    messages = [manifest(), *chunks(DATA, 4)]
    async with receiving() as server, server.inbox.reserve("r1", [ONE_TILE]) as reservation:
        stream = server.open_raw()()
        for message in messages[:num_messages]:
            await stream.write(encode_message(message))
        if num_messages:
            await stream.read()
        stream.cancel()
        await heals(server, reservation)


@pytest.mark.parametrize("num_messages", range(6))
async def test_a_sender_that_falls_silent_loses_its_place(num_messages: int) -> None:
    messages = [manifest(), *chunks(DATA, 4)]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(receiving(silence_seconds=0.2))
        reservation = await stack.enter_async_context(server.inbox.reserve("r1", [ONE_TILE]))
        stream = server.open_raw()()
        for message in messages[:num_messages]:
            await stream.write(encode_message(message))
        with pytest.raises(UnavailableError, match=r"silent for 0\.2 seconds"):
            await read_all(stream)
        await heals(server, reservation)


@pytest.mark.parametrize("num_messages", [0, 1, 3])
async def test_a_stream_that_is_late_for_its_request_is_refused(num_messages: int) -> None:
    messages = [manifest(), *chunks(DATA, 4)]
    async with receiving() as server:
        stream = server.open_raw()()
        async with server.inbox.reserve("r1", [ONE_TILE]) as reservation:
            arrived = arrivals(reservation)
            for message in messages[:num_messages]:
                await stream.write(encode_message(message))
            if num_messages:
                await stream.read()
        await stream.write(encode_message(messages[num_messages]))
        with pytest.raises(EmbeddingRejectedError, match="No request waits for this embedding"):
            await read_all(stream)
        assert arrived == {}
        assert server.inbox.reserved_bytes == 0


async def test_credit_comes_as_bytes_are_taken_in() -> None:
    data = payload(1, num_tiles=4)
    picture = ExpectedImage(b"a", 4)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(receiving(4, credit_bytes=TILE_BYTES))
        await stack.enter_async_context(server.inbox.reserve("r1", [picture]))
        stream = server.open_raw()()
        await stream.write(encode_message(manifest(num_tiles=4)))
        limits = [(await stream.read()).credit.limit_bytes]
        for part in chunks(data, 8):
            await stream.write(encode_message(part))
            if limits[-1] < len(data):
                limits.append((await stream.read()).credit.limit_bytes)
        await stream.done_writing()
        (committed,) = await read_all(stream)
    half = TILE_BYTES // 2
    assert limits == [half * count for count in range(2, 9)]
    assert committed.committed.num_bytes == len(data)


async def test_a_sender_beyond_its_credit_is_refused() -> None:
    data = payload(1, num_tiles=4)
    picture = ExpectedImage(b"a", 4)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(receiving(4, credit_bytes=TILE_BYTES))
        await stack.enter_async_context(server.inbox.reserve("r1", [picture]))
        with pytest.raises(EmbeddingRejectedError, match="512; the sender has credit for 256"):
            await server.put(manifest(num_tiles=4), *chunks(data, 2))


async def test_an_embedding_that_is_here_is_not_taken_again() -> None:
    async with receiving() as server, server.inbox.reserve("r1", [ONE_TILE]) as reservation:
        arrived = arrivals(reservation)
        await server.put(*GOOD)
        with pytest.raises(SlotTakenError, match="here already"):
            await server.put(*GOOD)
        assert arrived == {0: DATA}


async def test_one_key_in_two_requests_and_twice_in_one_fills_every_place_apart() -> None:
    places = [("r1", 0), ("r1", 1), ("r2", 0)]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(receiving(num_tiles=3))
        first = await stack.enter_async_context(server.inbox.reserve("r1", [ONE_TILE] * 2))
        second = await stack.enter_async_context(server.inbox.reserve("r2", [ONE_TILE]))
        arrived = {"r1": arrivals(first), "r2": arrivals(second)}
        for seed, (request_id, image_index) in enumerate(places):
            opening = manifest(request_id, image_index=image_index)
            await server.put(opening, *chunks(payload(seed), 2))
    assert arrived == {"r1": {0: payload(0), 1: payload(1)}, "r2": {0: payload(2)}}


async def test_a_request_id_in_use_does_not_touch_its_owner() -> None:
    async with receiving(2) as server, server.inbox.reserve("r1", [ONE_TILE]) as reservation:
        with pytest.raises(InvalidRequestError, match="in use"):
            await server.inbox.reserve("r1", [ONE_TILE]).__aenter__()
        await heals(server, reservation)


async def test_streams_that_end_in_another_order_than_they_began_fill_their_own_places() -> None:
    images = [ExpectedImage(bytes((index,)), 1) for index in range(4)]
    async with receiving(num_tiles=4) as server, server.inbox.reserve("r1", images) as reservation:
        arrived, streams = arrivals(reservation), []
        for index, image in enumerate(images):
            stream = server.open_raw()()
            opening = manifest(image_key=image.image_key, image_index=index)
            await stream.write(encode_message(opening))
            await stream.write(encode_message(chunks(payload(index), 2)[0]))
            streams.append(stream)
        for index in (2, 0, 3, 1):
            await streams[index].write(encode_message(chunks(payload(index), 2)[1]))
            await streams[index].done_writing()
            assert [each async for each in streams[index]][-1].HasField("committed")
    assert list(arrived) == [2, 0, 3, 1]
    assert all(arrived[index] == payload(index) for index in range(4))


async def test_each_fault_among_good_streams_fails_alone() -> None:
    """Every fault at once, each on its own request, and as many good streams between them."""
    names = [name for name, (messages, _, _) in FAULTS.items() if messages[1:]]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(receiving(num_tiles=2 * len(names)))
        arrived = {}
        for number in range(2 * len(names)):
            request = server.inbox.reserve(f"q{number}", [ONE_TILE])
            arrived[number] = arrivals(await stack.enter_async_context(request))

        async def put(number: int) -> None:
            if number % 2 == 0:
                good = payload(number)
                await server.put(manifest(f"q{number}"), chunk(good, 0, len(good)))
                return
            messages, error_class, _ = FAULTS[names[number // 2]]
            opening = embedding_pb2.EmbeddingManifest()
            opening.CopyFrom(messages[0] if isinstance(messages[0], type(opening)) else manifest())
            if opening.slot.request_id == "r1":
                opening.slot.request_id = f"q{number}"
            with pytest.raises(error_class):
                await server.put(opening, *messages[1:])

        await asyncio.gather(*map(put, range(2 * len(names))))
    expected = {n: {0: payload(n)} if n % 2 == 0 else {} for n in range(2 * len(names))}
    assert arrived == expected


RAW_STREAMS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([encode_message(each) for each in (manifest(), *chunks(DATA, 2), WHOLE)]),
    ),
    max_size=5,
)


@settings(max_examples=25, deadline=None)
@given(messages=RAW_STREAMS)
def test_no_stream_of_messages_breaks_the_receiver(messages: list[bytes]) -> None:
    async def use() -> None:
        async with receiving() as server, server.inbox.reserve("r1", [ONE_TILE]) as reservation:
            arrived = arrivals(reservation)
            with suppress(DvdError):
                _ = [answer async for answer in each(server.open_raw()(iter(messages)))]
            await until_free(reservation)
            if arrived:
                assert arrived == {0: DATA}
            else:
                await heals(server, reservation)

    asyncio.run(use())


async def test_a_receiver_that_stops_ends_its_streams() -> None:
    async with receiving() as server, server.inbox.reserve("r1", [ONE_TILE]) as reservation:
        stream = server.open_raw()()
        await stream.write(encode_message(manifest()))
        await until(lambda: reservation.slots[0].writer is not None)
        await server.rpc.stop(0)
        with pytest.raises(UnavailableError):
            await read_all(stream)
        await until_free(reservation)
