"""PyTorch's packed flash attention on a card: that it is there, and means what it should."""

import pytest
import torch

from language_service.varlen_attention import agrees_with_each, attend_each, varlen_attention

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("group", "head_dim"), [(1, 128), (4, 128), (8, 64)])
def test_flash_attention_is_used_and_agrees(dtype: torch.dtype, group: int, head_dim: int) -> None:
    attention = varlen_attention(CUDA, dtype, group, head_dim)
    assert attention is not attend_each
    assert agrees_with_each(attention, CUDA, dtype, group, head_dim)
