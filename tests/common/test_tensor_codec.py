"""Element types, byte views, chunks and checksums."""

import itertools

import numpy as np
import pytest
import torch
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from common.errors import EmbeddingRejectedError
from common.tensor_codec import (
    TORCH_DTYPES,
    WIRE_DTYPES,
    ByteSpan,
    bytes_tensor,
    checksum,
    is_finite,
    plan_chunks,
    tensor_bytes,
    torch_dtype,
)
from protos.dvd.v1 import embedding_pb2

TILES = st.lists(st.integers(1, 50), max_size=20)
LIMITS = st.integers(1, 60)


def spans(*pairs: tuple[int, int]) -> list[ByteSpan]:
    return [ByteSpan(offset, length) for offset, length in pairs]


def received(payload: bytes | memoryview) -> torch.Tensor:
    """Bytes as the inbox holds them."""
    return torch.frombuffer(bytearray(payload), dtype=torch.uint8)


@given(
    rows=st.integers(1, 7),
    width=st.integers(1, 9),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    data=st.data(),
)
def test_any_bits_survive_the_wire(
    rows: int, width: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    num_bytes = rows * width * dtype.itemsize
    bits = data.draw(st.binary(min_size=num_bytes, max_size=num_bytes))
    tensor = bytes_tensor(received(bits), dtype, width)
    assert tensor.dtype is dtype
    assert tensor.shape == (rows, width)
    assert bytes(tensor_bytes(tensor)) == bits


@pytest.mark.parametrize("dtype", TORCH_DTYPES.values())
def test_values_survive_the_wire(dtype: torch.dtype) -> None:
    tensor = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(bytes_tensor(received(tensor_bytes(tensor)), dtype, 3), tensor)


def test_the_wire_is_little_endian() -> None:
    assert bytes(tensor_bytes(torch.tensor([[1.0, -2.5]]))) == np.array([1, -2.5], "<f4").tobytes()


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    upper = bytes(tensor_bytes(torch.tensor([[1.5]])))[2:]
    assert bytes(tensor_bytes(torch.tensor([[1.5]], dtype=torch.bfloat16))) == upper


def test_a_transposed_tensor_is_sent_row_by_row() -> None:
    tensor = torch.arange(6, dtype=torch.float32).view(2, 3).T
    assert torch.equal(bytes_tensor(received(tensor_bytes(tensor)), torch.float32, 2), tensor)


def test_neither_way_copies() -> None:
    payload = received(bytes(8))
    tensor = bytes_tensor(payload, torch.float32, 2)
    tensor_bytes(tensor)[:4] = np.float32(7).tobytes()
    assert tensor[0, 0] == 7
    assert bytes(tensor_bytes(payload))[:4] == np.float32(7).tobytes()


LARGEST = {dtype: torch.finfo(dtype).max for dtype in TORCH_DTYPES.values()}


@pytest.mark.parametrize("dtype", TORCH_DTYPES.values())
@pytest.mark.parametrize("at", [0, 500, 999])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_not_finite_is_found(dtype: torch.dtype, at: int, value: float) -> None:
    values = torch.ones(10, 100, dtype=dtype)
    assert is_finite(values)
    values.view(-1)[at] = value
    assert not is_finite(values)


@pytest.mark.parametrize("dtype", TORCH_DTYPES.values())
def test_infinities_that_cancel_out_are_found(dtype: torch.dtype) -> None:
    assert not is_finite(torch.tensor([[float("inf"), float("-inf")]], dtype=dtype))


@pytest.mark.parametrize("dtype", TORCH_DTYPES.values())
def test_finite_values_whose_sum_is_not_are_finite(dtype: torch.dtype) -> None:
    assert is_finite(torch.full((4, 4), LARGEST[dtype], dtype=dtype))


@pytest.mark.parametrize(("wire", "dtype"), TORCH_DTYPES.items())
def test_element_types_translate_both_ways(wire: embedding_pb2.DType, dtype: torch.dtype) -> None:
    assert torch_dtype(wire) is dtype
    assert WIRE_DTYPES[dtype] == wire


@pytest.mark.parametrize("wire", [embedding_pb2.D_TYPE_UNSPECIFIED, 99])
def test_an_unknown_element_type_is_refused(wire: int) -> None:
    with pytest.raises(EmbeddingRejectedError, match=f"Element type {wire} is not supported"):
        torch_dtype(wire)


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)) * 40])
def test_the_checksum_is_xxh3_64_of_bytes_and_views_alike(data: bytes) -> None:
    assert checksum(data) == checksum(memoryview(data)) == xxhash.xxh3_64(data).intdigest()


@given(data=st.binary(min_size=1, max_size=200), bit=st.integers(0, 7), at=st.data())
def test_the_checksum_sees_one_flipped_bit(data: bytes, bit: int, at: st.DataObject) -> None:
    damaged = bytearray(data)
    damaged[at.draw(st.integers(0, len(data) - 1))] ^= 1 << bit
    assert checksum(bytes(damaged)) != checksum(data)


@given(tiles=TILES, limit=LIMITS)
def test_chunks_cover_every_byte_once_in_order_within_the_limit(
    tiles: list[int], limit: int
) -> None:
    chunks = list(plan_chunks(tiles, limit))
    covered = [byte for c in chunks for byte in range(c.offset, c.offset + c.length)]
    assert covered == list(range(sum(tiles)))
    assert all(0 < chunk.length <= limit for chunk in chunks)


@given(tiles=TILES, limit=LIMITS)
def test_a_tile_within_the_limit_that_starts_a_chunk_is_whole(tiles: list[int], limit: int) -> None:
    starts = {chunk.offset: chunk for chunk in plan_chunks(tiles, limit)}
    for tile, start in zip(tiles, itertools.accumulate(tiles, initial=0), strict=False):
        if tile <= limit and start in starts:
            assert starts[start].length >= tile


@given(tiles=st.lists(st.integers(1, 20), max_size=20), limit=st.integers(20, 60))
def test_tiles_within_the_limit_are_grouped_greedily_and_never_cut(
    tiles: list[int], limit: int
) -> None:
    ends = list(itertools.accumulate(tiles))
    for chunk in plan_chunks(tiles, limit):
        end = chunk.offset + chunk.length
        assert end in ends
        following = tiles[ends.index(end) + 1 :][:1]
        assert not following or chunk.length + following[0] > limit


@pytest.mark.parametrize(
    ("tiles", "limit", "expected"),
    [
        ([], 10, spans()),
        ([10], 10, spans((0, 10))),
        ([4, 4, 4], 10, spans((0, 8), (8, 4))),
        ([4, 6, 4], 10, spans((0, 10), (10, 4))),
        ([25], 10, spans((0, 10), (10, 10), (20, 5))),
        ([20], 10, spans((0, 10), (10, 10))),
        ([3, 25], 10, spans((0, 3), (3, 10), (13, 10), (23, 5))),
        ([25, 3], 10, spans((0, 10), (10, 10), (20, 8))),
        ([25, 6], 10, spans((0, 10), (10, 10), (20, 5), (25, 6))),
    ],
)
def test_small_tiles_are_grouped_and_large_ones_split(
    tiles: list[int], limit: int, expected: list[ByteSpan]
) -> None:
    assert list(plan_chunks(tiles, limit)) == expected
