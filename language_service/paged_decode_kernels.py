"""The two Triton kernels of `paged_decode`; importing this module needs Triton.

`attend_part` is one program for a row, a key head and a part of the row's keys: the query heads
that share the key head are one product of at least sixteen rows, which is what matrix units take.
`join_parts` puts a row's parts together. Where there is one part the first kernel does it all.

Tested in Triton's interpreter; **has never run on a card**.
"""

import torch
import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def multiply(
    left: torch.Tensor, right: torch.Tensor, PRECISION: tl.constexpr, IS_WIDE: tl.constexpr
) -> torch.Tensor:
    """A matrix product in float32; `IS_WIDE` has its factors in float32 as well."""
    if IS_WIDE:
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, input_precision=PRECISION)  # type: ignore[no-any-return]


@triton.jit  # type: ignore[untyped-decorator]
def attend_part(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    lengths: torch.Tensor,
    block_tables: torch.Tensor,
    sinks: torch.Tensor,
    output: torch.Tensor,
    output_lse: torch.Tensor,
    scaling: float,
    query_stride: int,
    query_head_stride: int,
    head_stride: int,
    table_stride: int,
    NUM_KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUP_ROWS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    KEYS_AT_A_TIME: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    WINDOW: tl.constexpr,
    HAS_SINKS: tl.constexpr,
    PRECISION: tl.constexpr,
    IS_WIDE: tl.constexpr,
) -> None:
    """Attend to one part of one row's keys.

    `output` is [rows, heads, parts, d] float32 and `output_lse` [rows, heads, parts] where there
    are several parts, else the final [rows, heads, d] and [rows, heads]. `WINDOW` 0 is none.
    `IS_WIDE` multiplies in float32: Triton's interpreter has no products of bfloat16.
    """
    row, kv_head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + row)
    first = tl.maximum(length - WINDOW, 0) if WINDOW else 0
    # Whole rounds of keys for every part, so that only a row's last round is padded.
    part_keys = tl.cdiv(tl.cdiv(length - first, NUM_PARTS), KEYS_AT_A_TIME) * KEYS_AT_A_TIME
    begin = first + part * part_keys
    end = tl.minimum(begin + part_keys, length)

    dims = tl.arange(0, HEAD_DIM)
    members = tl.arange(0, GROUP_ROWS)
    is_member = members < GROUP
    heads = kv_head * GROUP + members
    own = query + row.to(tl.int64) * query_stride + heads[:, None] * query_head_stride
    rows = tl.load(own + dims[None, :], mask=is_member[:, None], other=0.0)
    key_head = keys + kv_head.to(tl.int64) * head_stride
    value_head = values + kv_head.to(tl.int64) * head_stride

    largest = tl.full([GROUP_ROWS], float("-inf"), tl.float32)
    total = tl.zeros([GROUP_ROWS], tl.float32)
    mixed = tl.zeros([GROUP_ROWS, HEAD_DIM], tl.float32)
    table = block_tables + row.to(tl.int64) * table_stride
    for start in range(begin, end, KEYS_AT_A_TIME):
        positions = start + tl.arange(0, KEYS_AT_A_TIME)
        is_there = positions < end
        blocks = tl.load(table + positions // BLOCK_SIZE, mask=is_there, other=0)
        slots = blocks.to(tl.int64) * BLOCK_SIZE + positions % BLOCK_SIZE
        places = slots[None, :] * HEAD_DIM + dims[:, None]
        key = tl.load(key_head + places, mask=is_there[None, :], other=0.0)
        places = slots[:, None] * HEAD_DIM + dims[None, :]
        value = tl.load(value_head + places, mask=is_there[:, None], other=0.0)
        scores = multiply(rows, key, PRECISION, IS_WIDE) * scaling
        scores = tl.where(is_there[None, :], scores, float("-inf"))
        raised = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp(scores - raised[:, None])
        kept = tl.exp(largest - raised)
        total = total * kept + tl.sum(weights, 1)
        product = multiply(weights.to(value.dtype), value, PRECISION, IS_WIDE)
        mixed = mixed * kept[:, None] + product
        largest = raised

    # A part without keys has weight exp(-inf) = 0 in the whole; a total that is no number stays so.
    is_empty = total == 0
    divisor = tl.where(is_empty, 1.0, total)
    mixed = mixed / divisor[:, None]
    lse = tl.where(is_empty, float("-inf"), largest + tl.log(divisor))
    if NUM_PARTS == 1 and HAS_SINKS:
        sink = tl.load(sinks + heads, mask=is_member, other=0.0).to(tl.float32)
        mixed = mixed * tl.sigmoid(lse - sink)[:, None]
    own_places = (row.to(tl.int64) * (NUM_KV_HEADS * GROUP) + heads) * NUM_PARTS + part
    tl.store(output_lse + own_places, lse, mask=is_member)
    target = output + own_places[:, None] * HEAD_DIM + dims[None, :]
    kind = output.dtype.element_ty  # type: ignore[attr-defined]
    tl.store(target, mixed.to(kind), mask=is_member[:, None])


@triton.jit  # type: ignore[untyped-decorator]
def join_parts(
    parts: torch.Tensor,
    parts_lse: torch.Tensor,
    sinks: torch.Tensor,
    output: torch.Tensor,
    output_lse: torch.Tensor,
    HEAD_DIM: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    HAS_SINKS: tl.constexpr,
) -> None:
    """Put the parts of one row and one head together; shapes as in `attend_part`."""
    row, head, num_heads = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    place = row.to(tl.int64) * num_heads + head
    dims, numbers = tl.arange(0, HEAD_DIM), tl.arange(0, NUM_PARTS)
    lse = tl.load(parts_lse + place * NUM_PARTS + numbers)
    mixed = tl.load(parts + (place * NUM_PARTS + numbers[:, None]) * HEAD_DIM + dims[None, :])
    largest = tl.max(lse, 0)
    weights = tl.exp(lse - largest)
    total = tl.sum(weights, 0)
    joined = tl.sum(mixed * weights[:, None], 0) / total
    lse = largest + tl.log(total)
    if HAS_SINKS:
        joined = joined * tl.sigmoid(lse - tl.load(sinks + head).to(tl.float32))
    kind = output.dtype.element_ty  # type: ignore[attr-defined]
    tl.store(output + place * HEAD_DIM + dims, joined.to(kind))
    tl.store(output_lse + place, lse)
