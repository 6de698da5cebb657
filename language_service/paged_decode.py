"""Attention of answers on a GPU: one row a sequence, keys read through block tables.

The keys of a row are cut into parts, so that a long context of few sequences still gives every
multiprocessor something to read; parts are joined by their log-sum-exps. What is launched depends
on the number of rows and the width of the tables alone and never on lengths, so that a CUDA graph
of it serves every step.

The kernels are written in Triton, which comes with PyTorch for CUDA; without it, or where a small
case comes out wrong, `decode_kernel_works` says no and attention goes another way. Tested in
Triton's interpreter (TRITON_INTERPRET=1); **has never run on a card**.
"""

import logging
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from subprocess import SubprocessError

import torch

from language_service.attention_kernels import EVERY_KEY, attend_with_lse
from language_service.attention_step import AttentionLayer
from language_service.device_rows import PagedRows

log = logging.getLogger(__name__)

# Matrix units multiply sixteen rows at least.
MIN_GROUP_ROWS = 16
KEYS_AT_A_TIME = 64
MAX_PARTS = 32
HEAD_DIMS = (16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class Attended:
    """The outcome for n rows.

    Attributes:
        output: [n, heads, d] in the type of the queries; sinks have had their effect.
        lse: [n, heads] float32, logarithm of the softmax's denominator without the sinks.
    """

    output: torch.Tensor
    lse: torch.Tensor


def num_parts(num_rows: int, num_kv_heads: int, max_keys: int, num_processors: int) -> int:
    """Into how many parts each row's keys are cut: a power of two, for few compiled kernels.

    Args:
        num_rows: Of the launch.
        num_kv_heads: Key heads.
        max_keys: Most that a row may see.
        num_processors: Multiprocessors; two programs each are enough to keep them reading.
    """
    wanted = 2 * num_processors // max(1, num_rows * num_kv_heads)
    useful = max_keys // KEYS_AT_A_TIME
    largest = max(1, min(wanted, useful, MAX_PARTS))
    return 1 << (largest.bit_length() - 1)


def attend_paged(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    rows: PagedRows,
    layer: AttentionLayer,
    parts: int | None = None,
) -> Attended:
    """Attention of one row a sequence over its keys in the cache.

    Args:
        query: [n, heads, d], d one of `HEAD_DIMS`, contiguous in the last dimension.
        keys: [kv heads, slots, d], contiguous in the last two dimensions.
        values: As keys, with equal strides.
        rows: Whose keys are where.
        layer: Scale, window, sinks.
        parts: Parts of each row's keys, a power of two; None chooses.
    """
    from language_service.paged_decode_kernels import attend_part, join_parts  # noqa: PLC0415

    num_rows, num_heads, head_dim = query.shape
    num_kv_heads = keys.shape[0]
    if parts is None:
        parts = _parts_of(query, num_kv_heads, rows, layer)
    output = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    lse = query.new_empty((num_rows, num_heads), dtype=torch.float32)
    own, own_lse = output, lse
    if parts > 1:
        own = query.new_empty((num_rows, num_heads, parts, head_dim), dtype=torch.float32)
        own_lse = query.new_empty((num_rows, num_heads, parts), dtype=torch.float32)
    group = num_heads // num_kv_heads
    # Where there are none any tensor will do: it is not read.
    sinks = lse if layer.sinks is None else layer.sinks
    attend_part[(num_rows, num_kv_heads, parts)](
        query, keys, values, rows.lengths, rows.block_tables, sinks, own, own_lse,
        layer.scaling, query.stride(0), query.stride(1), keys.stride(0),
        rows.block_tables.stride(0),
        NUM_KV_HEADS=num_kv_heads,
        GROUP=group,
        GROUP_ROWS=max(MIN_GROUP_ROWS, 1 << (group - 1).bit_length()),
        HEAD_DIM=head_dim,
        BLOCK_SIZE=rows.block_size,
        KEYS_AT_A_TIME=KEYS_AT_A_TIME,
        NUM_PARTS=parts,
        WINDOW=layer.window or 0,
        HAS_SINKS=layer.sinks is not None,
        PRECISION="ieee" if query.dtype is torch.float32 else "tf32",
        IS_WIDE=query.dtype is torch.bfloat16 and query.device.type == "cpu",
    )  # fmt: skip
    if parts > 1:
        join_parts[(num_rows, num_heads)](
            own, own_lse, sinks, output, lse,
            HEAD_DIM=head_dim, NUM_PARTS=parts, HAS_SINKS=layer.sinks is not None,
        )  # fmt: skip
    return Attended(output, lse)


def _parts_of(
    query: torch.Tensor, num_kv_heads: int, rows: PagedRows, layer: AttentionLayer
) -> int:
    max_keys = rows.block_tables.shape[1] * rows.block_size
    if layer.window is not None:
        max_keys = min(max_keys, layer.window)
    return num_parts(len(query), num_kv_heads, max_keys, _num_processors(query.device))


@cache
def _num_processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@cache
def decode_kernel_works(
    device: torch.device, dtype: torch.dtype, group: int, head_dim: int
) -> bool:
    """Whether the kernels compile for a shape and compute on a small case what the formula does."""
    if head_dim not in HEAD_DIMS or find_spec("triton") is None:
        log.warning("There is no decode kernel: heads are %d wide, or Triton is missing.", head_dim)
        return False
    errors = import_module("triton.errors")
    # Beside what the compiler says: no C compiler, no place to write, no Python headers.
    failures = (errors.TritonError, RuntimeError, OSError, SubprocessError)
    try:
        works = _agrees_with_formula(device, dtype, group, head_dim)
    except (*failures, AttributeError, TypeError, ValueError):
        log.warning("The decode kernel fails on %s and is not used.", device, exc_info=True)
        return False
    if not works:
        log.warning("The decode kernel computes something else on %s and is not used.", device)
    return works


def _agrees_with_formula(
    device: torch.device, dtype: torch.dtype, group: int, head_dim: int
) -> bool:
    """Two rows over scattered blocks of four, in one part and in two, with and without a sink."""
    source = torch.Generator().manual_seed(0)
    sizes = ((2, group, head_dim), (1, 400, head_dim), (1, 400, head_dim), (group,))
    query, keys, values, sinks = (torch.randn(s, generator=source).to(device, dtype) for s in sizes)
    tables = torch.randperm(100, generator=source).view(2, 50).to(device, torch.int32)
    lengths = torch.tensor([200, 3], dtype=torch.int32, device=device)
    rows = PagedRows(lengths, tables, 4)
    for parts, window in ((1, None), (2, None), (2, 130)):
        layer = AttentionLayer(0, head_dim**-0.5, window, sinks)
        found = attend_paged(query, keys, values, rows, layer, parts)
        for row, length in enumerate((200, 3)):
            slots = (tables[row, :, None].long() * 4 + torch.arange(4, device=device)).flatten()
            seen = slots[max(0, length - (window or length)) : length]
            wanted = _formula(query[row], keys[:, seen], values[:, seen], layer)
            pairs = ((found.output[row], wanted.output), (found.lse[row], wanted.lse))
            if not all(torch.allclose(a.float(), b.float(), atol=3e-2) for a, b in pairs):
                return False
    return True


def _formula(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layer: AttentionLayer
) -> Attended:
    """One row [heads, d] over all keys [1, length, d]."""
    output, lse = attend_with_lse(
        query[None, :, None], keys[None], values[None], EVERY_KEY, layer.scaling
    )
    output, lse = output[0, :, 0], lse[0, :, 0]
    if layer.sinks is not None:
        output = output * torch.sigmoid(lse - layer.sinks.float())[:, None]
    return Attended(output, lse)
