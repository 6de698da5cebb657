"""The decode kernels in Triton's interpreter against the definition, and compiled for a card."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from language_service.attention_step import AttentionLayer
from language_service.paged_decode import (
    attend_paged,
    decode_kernel_works,
    num_parts,
)
from tests.language_service.paged_cases import paged_case

pytest.importorskip("triton")
interpreted = pytest.mark.skipif(
    torch.cuda.is_available(), reason="tests/gpu runs the kernels on the card itself"
)
HEADS = [(2, 2, 64), (8, 2, 64), (8, 1, 128), (20, 1, 16)]
UNEQUAL = [1, 15, 16, 17, 33, 130]


def sinks_of(num_heads: int) -> torch.Tensor:
    return torch.randn(num_heads, generator=torch.Generator().manual_seed(3)) * 2


@interpreted
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("parts", [1, 4])
def test_unequal_lengths_are_the_definition(heads: tuple[int, int, int], parts: int) -> None:
    case, layer = paged_case(heads, UNEQUAL), AttentionLayer(0, heads[2] ** -0.5)
    found = attend_paged(case.query, case.keys, case.values, case.rows, layer, parts)
    torch.testing.assert_close(found.output, case.wanted(layer), atol=2e-6, rtol=1e-5)


@interpreted
@pytest.mark.parametrize("window", [1, 16, 20, 128, 500])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_window_counts_the_row_itself(window: int, parts: int) -> None:
    case = paged_case((6, 2, 64), [1, 16, 20, 21, 150])
    layer = AttentionLayer(0, 0.125, window, sinks_of(6))
    found = attend_paged(case.query, case.keys, case.values, case.rows, layer, parts)
    torch.testing.assert_close(found.output, case.wanted(layer), atol=2e-6, rtol=1e-5)


@interpreted
@pytest.mark.parametrize("parts", [1, 4])
def test_the_denominator_is_without_the_sinks(parts: int) -> None:
    case = paged_case((4, 1, 64), [70, 3])
    layer = AttentionLayer(0, 0.125, None, sinks_of(4))
    found = attend_paged(case.query, case.keys, case.values, case.rows, layer, parts)
    for row, span in enumerate(case.step.spans):
        keys = case.cache.keys(0, span.place, span.length)[:, 0]
        wanted = (case.query[row] @ keys.T * 0.125).logsumexp(dim=-1)
        torch.testing.assert_close(found.lse[row], wanted, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(found.output, case.wanted(layer), atol=2e-6, rtol=1e-5)


@interpreted
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)])
def test_half_precision_comes_near(dtype: torch.dtype, tolerance: float) -> None:
    case = paged_case((8, 2, 128), UNEQUAL, dtype)
    layer = AttentionLayer(0, 128**-0.5, 40, sinks_of(8))
    found = attend_paged(case.query, case.keys, case.values, case.rows, layer, 2)
    assert found.output.dtype is dtype
    wanted = case.wanted(layer)
    torch.testing.assert_close(found.output, wanted, atol=tolerance, rtol=tolerance)


@interpreted
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_padding_rows_disturb_nobody() -> None:
    """A padding row sees one key of a block that nobody owns, whatever that holds."""
    case, layer = paged_case((4, 2, 64), [40, 1, 1]), AttentionLayer(0, 0.125)
    slot = int(case.rows.block_tables[1, 0]) * 16
    case.rows.block_tables[2] = case.rows.block_tables[1]
    case.keys[:, slot] = torch.inf
    found = attend_paged(case.query, case.keys, case.values, case.rows, layer, 2)
    torch.testing.assert_close(found.output[0], case.wanted(layer)[0], atol=2e-6, rtol=1e-5)


@interpreted
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_no_number_stays_none() -> None:
    case, layer = paged_case((4, 2, 64), [90, 90]), AttentionLayer(0, 0.125)
    case.query[1] = torch.nan
    for parts in (1, 4):
        found = attend_paged(case.query, case.keys, case.values, case.rows, layer, parts)
        assert found.output[0].isfinite().all()
        assert found.output[1].isnan().all()


@interpreted
def test_the_kernels_are_tried_before_they_are_used() -> None:
    cpu = torch.device("cpu")
    assert decode_kernel_works(cpu, torch.bfloat16, 4, 128)
    assert not decode_kernel_works(cpu, torch.bfloat16, 4, 80)


@pytest.mark.parametrize(
    ("rows", "max_keys", "parts"),
    [(1, 40_960, 32), (1, 640, 8), (1, 40, 1), (8, 40_960, 4), (32, 40_960, 1), (256, 40_960, 1)],
)
def test_few_rows_are_cut_into_enough_parts_for_all_processors(
    rows: int, max_keys: int, parts: int
) -> None:
    assert num_parts(rows, 8, max_keys, 132) == parts


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from language_service.paged_decode_kernels import attend_part, join_parts

def compiled(kernel, types, constants):
    names = kernel.arg_names
    places = {(names.index(name),): value for name, value in constants.items()}
    divisible = [name for name, kind in types.items() if kind != "fp32"]
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in divisible}
    signature = {name: types.get(name, "constexpr") for name in names}
    source = ASTSource(kernel, signature, places, aligned)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm

shape = dict(NUM_KV_HEADS=8, GROUP=4, GROUP_ROWS=16, HEAD_DIM=128, BLOCK_SIZE=16,
             KEYS_AT_A_TIME=64, PRECISION="tf32", IS_WIDE=False)
types = dict(query="*bf16", keys="*bf16", values="*bf16", lengths="*i32", block_tables="*i32",
             sinks="*bf16", output_lse="*fp32", scaling="fp32", query_stride="i32",
             query_head_stride="i32", head_stride="i32", table_stride="i32")
one = compiled(attend_part, types | {"output": "*bf16"},
               shape | dict(NUM_PARTS=1, WINDOW=128, HAS_SINKS=True))
many = compiled(attend_part, types | {"output": "*fp32"},
                shape | dict(NUM_PARTS=8, WINDOW=0, HAS_SINKS=False))
joined = compiled(join_parts, dict(parts="*fp32", parts_lse="*fp32", sinks="*bf16",
                                   output="*bf16", output_lse="*fp32"),
                  dict(HEAD_DIM=128, NUM_PARTS=8, HAS_SINKS=True))
for each in (one, many):
    assert each["cubin"] and "mma.sync" in each["ptx"] and "cp.async" in each["ptx"]
assert joined["cubin"]
"""


def test_they_compile_for_a_card_with_matrix_units_and_asynchronous_copies(tmp_path: Path) -> None:
    """The compiler and assembler need no card; that the code runs on one is not shown by this."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", COMPILE]
    outcome = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
