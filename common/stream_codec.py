"""The messages of an embedding stream as bytes: protobuf's own format, written and read by hand.

A chunk carries megabytes, and protobuf copies them three times on the way out and twice on the way
in. Here they are copied once on the way out and viewed on the way in. Both gRPC ends use this for
`PutEmbeddings`; what it writes is what protobuf would write, and what it does not know at first
sight it gives to protobuf's parser, so that a peer with protobuf alone understands and is
understood.

    PutEmbeddingsRequest    12 <length>  EmbeddingChunk
    EmbeddingChunk          08 <byte_offset>  11 <checksum, 8 bytes>  7a <length> <payload>
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from common.errors import EmbeddingRejectedError
from protos.dvd.v1 import embedding_pb2

PUT_EMBEDDINGS = "/dvd.v1.LanguageService/PutEmbeddings"

CHUNK_TAG = 0x12
OFFSET_TAG = 0x08
CHECKSUM_TAG = 0x11
INLINE_TAG = 0x7A
MAX_VARINT_BYTES = 10
MAX_MANIFEST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class PayloadChunk:
    """A run of payload bytes.

    Attributes:
        byte_offset: Position of the first one in the whole payload.
        checksum: xxh3-64 of them.
        data: The bytes, or a view of them.
    """

    byte_offset: int
    checksum: int
    data: bytes | memoryview


StreamMessage = embedding_pb2.EmbeddingManifest | PayloadChunk


def encode_message(message: StreamMessage) -> bytes:
    """Write a message from the sender of an embedding; the payload is copied once."""
    if not isinstance(message, PayloadChunk):
        return embedding_pb2.PutEmbeddingsRequest(manifest=message).SerializeToString()
    fields = b""
    # As in any protobuf message, a number that is zero is left out.
    if message.byte_offset:
        fields += bytes((OFFSET_TAG,)) + _varint(message.byte_offset)
    if message.checksum:
        fields += bytes((CHECKSUM_TAG,)) + message.checksum.to_bytes(8, "little")
    fields += bytes((INLINE_TAG,)) + _varint(len(message.data))
    begin = bytes((CHUNK_TAG,)) + _varint(len(fields) + len(message.data))
    return b"".join((begin, fields, message.data))


def decode_message(data: bytes) -> StreamMessage:
    """Read a message from the sender of an embedding; the payload of a chunk is a view.

    Raises:
        EmbeddingRejectedError: It is no such message, or its payload is of an unknown kind.
    """
    return _read_canonical_chunk(data) or _read_any(data)


def _read_any(data: bytes) -> StreamMessage:
    try:
        message = embedding_pb2.PutEmbeddingsRequest.FromString(data)
    except DecodeError as cause:
        raise EmbeddingRejectedError("A message of the embedding stream is unreadable.") from cause
    kind = message.WhichOneof("message")
    if kind == "manifest":
        if len(data) > MAX_MANIFEST_BYTES:
            raise EmbeddingRejectedError(
                f"The manifest has {len(data)} bytes; it may have {MAX_MANIFEST_BYTES}."
            )
        return message.manifest
    if kind != "chunk":
        raise EmbeddingRejectedError("A message is neither a manifest nor a chunk.")
    chunk = message.chunk
    if chunk.WhichOneof("payload") != "inline":
        raise EmbeddingRejectedError("A chunk has no payload of a kind that is known here.")
    return PayloadChunk(chunk.byte_offset, chunk.checksum, chunk.inline)


def _read_canonical_chunk(data: bytes) -> PayloadChunk | None:
    """Read a chunk that is written exactly as protobuf writes it; None for anything else."""
    try:
        _expect(data[0] == CHUNK_TAG)
        length, at = _read_varint(data, 1)
        _expect(at + length == len(data))
        byte_offset = checksum = 0
        if data[at] == OFFSET_TAG:
            byte_offset, at = _read_varint(data, at + 1)
            _expect(byte_offset > 0)
        if data[at] == CHECKSUM_TAG:
            checksum, at = int.from_bytes(data[at + 1 : at + 9], "little"), at + 9
            _expect(checksum > 0)
        _expect(data[at] == INLINE_TAG)
        length, at = _read_varint(data, at + 1)
        _expect(at + length == len(data))
    except (IndexError, ValueError):
        return None
    return PayloadChunk(byte_offset, checksum, memoryview(data)[at:])


def _expect(holds: bool) -> None:
    if not holds:
        raise ValueError("not as protobuf writes it")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a varint as short as it can be; its value, and where the next field begins."""
    value = 0
    for index in range(MAX_VARINT_BYTES):
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte <= 0x7F:
            _expect((byte > 0 or index == 0) and value < 1 << 64)
            return value, at + index + 1
    raise ValueError("too long")
