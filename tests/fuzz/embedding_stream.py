"""What must hold for every embedding stream, whatever its bytes.

An input is a run of frames: a byte of flags, two bytes of length, a message. With the lowest flag
set a chunk gets its right checksum, which no mutation would ever find.
"""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import torch
from google.protobuf.message import DecodeError

from common.errors import (
    EmbeddingRejectedError,
    MismatchError,
    SlotTakenError,
    UnavailableError,
)
from common.stream_codec import (
    MAX_MANIFEST_BYTES,
    PayloadChunk,
    StreamMessage,
    decode_message,
    encode_message,
)
from common.tensor_codec import checksum
from language_service.embedding_manifest import EmbeddingFormat
from language_service.inbox import Inbox
from language_service.receiver import IncomingEmbedding
from language_service.reservation import ArrivedImage, ExpectedImage, Reservation
from protos.dvd.v1 import embedding_pb2

FORMAT = EmbeddingFormat("f", torch.bfloat16, hidden_size=2, full_tokens=8, compressed_tokens=2)
IMAGES = (ExpectedImage(b"a", 1), ExpectedImage(b"b", 2, (True, False)))
CREDIT_BYTES = 16
RIGHT_CHECKSUM = 1
REFUSALS = (EmbeddingRejectedError, MismatchError, SlotTakenError, UnavailableError)


def check(data: bytes) -> None:
    """Feed one input to decoder, receiver and inbox.

    Raises:
        AssertionError: What must hold does not.
    """
    inbox = Inbox(FORMAT.max_bytes(3), FORMAT)
    request, reservation = hold(inbox)
    arrived: list[ArrivedImage] = []
    reservation.on_arrival = arrived.append
    incoming = IncomingEmbedding(inbox, CREDIT_BYTES)
    payload = b""
    try:
        for message in read(data):
            response = incoming.take(message)
            payload += bytes(message.data) if isinstance(message, PayloadChunk) else b""
            assert response is None or response.credit.limit_bytes <= len(payload) + CREDIT_BYTES
        assert incoming.end().committed.num_bytes == len(payload)
    except REFUSALS:
        assert arrived == []
    else:
        (image,) = arrived
        assert image.embeddings.view(torch.uint8).numpy().tobytes() == payload
        assert bool(torch.isfinite(image.embeddings).all())
        assert sum(image.tile_tokens) * FORMAT.token_bytes == len(payload)
    incoming.close()
    assert all(slot.writer is None for slot in reservation.slots)
    assert inbox.reserved_bytes <= inbox.max_bytes
    finish(request)
    assert inbox.reserved_bytes == 0


def frame(message: bytes, flags: int = 0) -> bytes:
    """One frame of an input."""
    return bytes((flags,)) + len(message).to_bytes(2, "little") + message


def read(data: bytes) -> Iterator[StreamMessage]:
    """The messages of an input, each compared with what protobuf reads.

    Raises:
        EmbeddingRejectedError: One of them is refused.
    """
    at = 0
    while at < len(data):
        flags, length = data[at], int.from_bytes(data[at + 1 : at + 3], "little")
        message = decode_as_protobuf_does(data[at + 3 : at + 3 + length])
        at += 3 + length
        if flags & RIGHT_CHECKSUM and isinstance(message, PayloadChunk):
            message = replace(message, checksum=checksum(message.data))
        yield message


def decode_as_protobuf_does(data: bytes) -> StreamMessage:
    """Read a message by hand and with protobuf, and compare.

    Raises:
        EmbeddingRejectedError: Both refuse it.
    """
    expected = protobuf_reading(data)
    try:
        read_by_hand = decode_message(data)
    except EmbeddingRejectedError:
        assert expected is None
        raise
    assert read_by_hand == expected
    # What is written again reads the same.
    assert decode_message(encode_message(read_by_hand)) == expected
    return read_by_hand


def protobuf_reading(data: bytes) -> StreamMessage | None:
    try:
        message = embedding_pb2.PutEmbeddingsRequest.FromString(data)
    except DecodeError:
        return None
    if message.WhichOneof("message") == "manifest":
        return message.manifest if len(data) <= MAX_MANIFEST_BYTES else None
    chunk = message.chunk
    if chunk.WhichOneof("payload") != "inline":
        return None
    return PayloadChunk(chunk.byte_offset, chunk.checksum, chunk.inline)


def hold(inbox: Inbox) -> tuple[AbstractAsyncContextManager[Reservation], Reservation]:
    """Reserve without an event loop; there is room, so nothing waits."""
    request = inbox.reserve("r", IMAGES)
    try:
        request.__aenter__().send(None)  # type: ignore[attr-defined]
    except StopIteration as entered:
        return request, entered.value
    raise AssertionError("it waits for room")


def finish(request: AbstractAsyncContextManager[Reservation]) -> None:
    """Release what `hold` reserved."""
    try:
        request.__aexit__(None, None, None).send(None)  # type: ignore[attr-defined]
    except StopIteration:
        return
    raise AssertionError("releasing waits")
