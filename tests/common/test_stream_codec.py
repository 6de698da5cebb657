"""The messages of an embedding stream by hand, beside protobuf's own writer and parser."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import EmbeddingRejectedError
from common.stream_codec import (
    MAX_MANIFEST_BYTES,
    PUT_EMBEDDINGS,
    PayloadChunk,
    decode_message,
    encode_message,
)
from protos.dvd.v1 import embedding_pb2, language_pb2

U64 = 2**64 - 1
Put = embedding_pb2.PutEmbeddingsRequest

CHUNKS = st.builds(
    PayloadChunk,
    byte_offset=st.one_of(st.integers(0, 300), st.integers(0, U64)),
    checksum=st.one_of(st.just(0), st.integers(0, U64)),
    data=st.one_of(st.binary(max_size=300), st.binary(min_size=16_000, max_size=17_000)),
)
MANIFESTS = st.builds(
    embedding_pb2.EmbeddingManifest,
    slot=st.builds(
        embedding_pb2.EmbeddingSlot,
        request_id=st.text(max_size=8),
        image_index=st.integers(0, 2**32 - 1),
    ),
    image_key=st.binary(max_size=8),
    tile_tokens=st.lists(st.integers(0, 2**32 - 1), max_size=8),
    num_bytes=st.integers(0, U64),
)


def wire_chunk(chunk: PayloadChunk) -> bytes:
    """A chunk as protobuf writes it."""
    return Put(
        chunk=embedding_pb2.EmbeddingChunk(
            byte_offset=chunk.byte_offset, checksum=chunk.checksum, inline=bytes(chunk.data)
        )
    ).SerializeToString()


def nested(*fields: bytes) -> bytes:
    """A chunk message of these fields, in this order; shorter than 128 bytes."""
    body = b"".join(fields)
    return b"\x12" + bytes((len(body),)) + body


def agrees_with_protobuf(data: bytes) -> None:
    """Read by hand what protobuf reads, refuse what it cannot read or what says nothing."""
    try:
        message = Put.FromString(data)
    except DecodeError:
        message = Put()
    read: object = None
    if message.WhichOneof("message") == "manifest":
        read = message.manifest
    elif message.chunk.WhichOneof("payload") == "inline":
        chunk = message.chunk
        read = PayloadChunk(chunk.byte_offset, chunk.checksum, chunk.inline)
    if read is None:
        with pytest.raises(EmbeddingRejectedError):
            decode_message(data)
    else:
        assert decode_message(data) == read


@settings(deadline=None)
@given(chunk=CHUNKS)
def test_a_chunk_is_written_as_protobuf_writes_it_and_read_without_a_copy(
    chunk: PayloadChunk,
) -> None:
    data = encode_message(chunk)
    assert data == wire_chunk(chunk)
    read = decode_message(data)
    assert read == chunk
    assert isinstance(read, PayloadChunk)
    assert isinstance(read.data, memoryview)
    assert read.data.obj is data


@settings(deadline=None)
@given(manifest=MANIFESTS)
def test_a_manifest_crosses_the_wire_whole(manifest: embedding_pb2.EmbeddingManifest) -> None:
    data = encode_message(manifest)
    assert data == Put(manifest=manifest).SerializeToString()
    assert decode_message(data) == manifest


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_as_protobuf_reads_them(data: bytes) -> None:
    agrees_with_protobuf(data)


@settings(max_examples=500, deadline=None)
@given(chunk=CHUNKS, edits=st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=3))))
def test_a_damaged_chunk_is_read_as_protobuf_reads_it(
    chunk: PayloadChunk, edits: list[tuple[int, bytes]]
) -> None:
    data = wire_chunk(chunk)
    for at, inserted in edits:
        data = data[:at] + inserted + data[at + 1 :]
    agrees_with_protobuf(data)


@settings(deadline=None)
@given(manifest=MANIFESTS, at=st.integers(0, 100), inserted=st.binary(max_size=2))
def test_a_damaged_manifest_is_read_as_protobuf_reads_it(
    manifest: embedding_pb2.EmbeddingManifest, at: int, inserted: bytes
) -> None:
    data = encode_message(manifest)
    agrees_with_protobuf(data[:at] + inserted + data[at + 1 :])


@settings(deadline=None)
@given(chunk=CHUNKS, length=st.integers(0, 40))
def test_a_truncated_chunk_is_refused(chunk: PayloadChunk, length: int) -> None:
    data = wire_chunk(chunk)
    if length < len(data):
        with pytest.raises(EmbeddingRejectedError):
            decode_message(data[:length])


OFFSET, CHECKSUM, INLINE = b"\x08\x05", b"\x11" + bytes(range(1, 9)), b"\x7a\x03abc"
CHECKSUM_VALUE = int.from_bytes(CHECKSUM[1:], "little")


@pytest.mark.parametrize(
    "data",
    [
        nested(INLINE, CHECKSUM, OFFSET),
        nested(CHECKSUM, OFFSET, INLINE),
        nested(b"\x08\x85\x00", CHECKSUM, INLINE),
        nested(b"\x08\x07", OFFSET, CHECKSUM, INLINE),
        nested(OFFSET, b"\x11" + bytes(8), CHECKSUM, INLINE),
        nested(OFFSET, CHECKSUM, b"\x7a\x83\x00abc"),
        nested(OFFSET, CHECKSUM, b"\x7a\x01x", INLINE),
        nested(OFFSET, b"\x50\x01", CHECKSUM, INLINE),
        nested(OFFSET, CHECKSUM, INLINE, b"\xa2\x06\x01z"),
        nested(OFFSET) + nested(CHECKSUM, INLINE),
        nested(OFFSET, CHECKSUM, INLINE) + b"\x50\x01",
        b"\x0a\x00" + nested(OFFSET, CHECKSUM, INLINE),
    ],
)
def test_a_chunk_that_another_writer_orders_otherwise_is_understood(data: bytes) -> None:
    assert decode_message(data) == PayloadChunk(5, CHECKSUM_VALUE, b"abc")


def test_numbers_that_are_written_though_they_are_zero_are_understood() -> None:
    data = nested(b"\x08\x00", b"\x11" + bytes(8), INLINE)
    assert decode_message(data) == PayloadChunk(0, 0, b"abc")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "neither a manifest nor a chunk"),
        (b"\x1a\x00", "neither a manifest nor a chunk"),
        (nested(OFFSET, CHECKSUM), "no payload of a kind that is known"),
        (nested(OFFSET, CHECKSUM, b"\x82\x01\x02ab"), "no payload of a kind that is known"),
        (b"\x12\x7f", "unreadable"),
        (b"\xff" * 30, "unreadable"),
        (nested(b"\x08" + b"\xff" * 10 + b"\x01", INLINE), "unreadable"),
    ],
)
def test_what_is_no_message_is_refused_in_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(EmbeddingRejectedError, match=sentence):
        decode_message(data)


def test_a_manifest_beyond_all_reason_is_refused() -> None:
    manifest = embedding_pb2.EmbeddingManifest(tile_tokens=[1] * MAX_MANIFEST_BYTES)
    with pytest.raises(EmbeddingRejectedError, match="it may have 65536"):
        decode_message(encode_message(manifest))


def test_the_method_is_the_one_of_the_contract() -> None:
    service = language_pb2.DESCRIPTOR.services_by_name["LanguageService"]
    method = service.methods_by_name["PutEmbeddings"]
    assert f"/{service.full_name}/{method.name}" == PUT_EMBEDDINGS
