"""Embeddings as bytes: element types, views without copies, chunks, checksums.

The vision service writes with this, the language service reads; both check with xxh3-64. Raw
little-endian bytes and nothing else: no pickle, no torch.load.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import xxhash

from common.errors import EmbeddingRejectedError
from protos.dvd.v1 import embedding_pb2

TORCH_DTYPES: dict[embedding_pb2.DType, torch.dtype] = {
    embedding_pb2.D_TYPE_FLOAT32: torch.float32,
    embedding_pb2.D_TYPE_BFLOAT16: torch.bfloat16,
}
WIRE_DTYPES = {dtype: wire for wire, dtype in TORCH_DTYPES.items()}


@dataclass(frozen=True, slots=True)
class ByteSpan:
    """A run of payload bytes.

    Attributes:
        offset: First byte.
        length: Number of bytes.
    """

    offset: int
    length: int


def torch_dtype(wire: int) -> torch.dtype:
    """Translate a wire element type.

    Raises:
        EmbeddingRejectedError: It is not one of the supported ones.
    """
    for known, dtype in TORCH_DTYPES.items():
        if known == wire:
            return dtype
    raise EmbeddingRejectedError(f"Element type {wire} is not supported.")


def tensor_bytes(embeddings: torch.Tensor) -> memoryview:
    """View a contiguous CPU tensor as bytes, without a copy.

    Args:
        embeddings: [n, h] float32 or bfloat16 on the CPU.
    """
    return embeddings.contiguous().view(torch.uint8).numpy().data.cast("B")


def bytes_tensor(payload: torch.Tensor, dtype: torch.dtype, hidden_size: int) -> torch.Tensor:
    """View received bytes as a tensor, without a copy.

    Args:
        payload: [bytes] uint8 of n * hidden_size elements.
        dtype: Element type.
        hidden_size: Width of one visual token.

    Returns:
        [n, hidden_size] of `dtype`.
    """
    return payload.view(dtype).view(-1, hidden_size)


def is_finite(values: torch.Tensor) -> bool:
    """Whether no element is infinite or NaN; as fast as memory for tensors that are finite.

    Args:
        values: Of any shape.
    """
    # A sum is finite only if every term is; the other way round it may have run over.
    return math.isfinite(values.sum().item()) or bool(torch.isfinite(values).all())


def checksum(data: bytes | memoryview) -> int:
    """xxh3-64 of the bytes."""
    return xxhash.xxh3_64_intdigest(data)


def plan_chunks(tile_bytes: Sequence[int], max_bytes: int) -> Iterator[ByteSpan]:
    """Cut a payload into messages: whole tiles grouped, tiles above the limit split.

    Args:
        tile_bytes: Bytes of each tile, in order.
        max_bytes: Most payload bytes of a message.
    """
    offset, length = 0, 0
    for tile in tile_bytes:
        if length and length + tile > max_bytes:
            yield ByteSpan(offset, length)
            offset, length = offset + length, 0
        length += tile
        while length > max_bytes:
            yield ByteSpan(offset, max_bytes)
            offset, length = offset + max_bytes, length - max_bytes
    if length:
        yield ByteSpan(offset, length)
