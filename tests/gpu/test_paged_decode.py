"""The decode kernels on a card, against the definition."""

import pytest
import torch

from language_service.attention_step import AttentionLayer
from language_service.paged_decode import attend_paged, decode_kernel_works
from tests.language_service.paged_cases import paged_case

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
HEADS = [(16, 8, 128), (32, 8, 128), (64, 8, 64), (32, 4, 128), (5, 1, 64)]
LENGTHS = [1, 15, 16, 17, 300, 4097, 9000]


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("parts", [1, 8, 32, None])
@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)],
)
def test_every_shape_is_the_definition(
    heads: tuple[int, int, int],
    parts: int | None,
    window: int | None,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    case = paged_case(heads, LENGTHS, dtype, "cuda")
    layer = AttentionLayer(0, heads[2] ** -0.5, window, torch.randn(heads[0], device="cuda"))
    found = attend_paged(case.query, case.keys, case.values, case.rows, layer, parts)
    torch.testing.assert_close(found.output, case.wanted(layer), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_the_card_passes_the_trial(dtype: torch.dtype, head_dim: int) -> None:
    assert decode_kernel_works(torch.device("cuda"), dtype, 4, head_dim)
