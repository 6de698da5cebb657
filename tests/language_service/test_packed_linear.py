"""Packed layers compute what the layers that they replace compute."""

import pytest
import torch
from torch import nn

from language_service.packed_linear import EXACT_ROWS, PackedLinear, pack_linears, rounded_rows
from tests.language_service.harness import build_model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("num_rows", [1, 2, 7, 32, 33, 64, 129, 300])
def test_rows_of_any_number_are_multiplied(
    num_rows: int, dtype: torch.dtype, tolerance: float, bias: bool
) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(48, 80, bias=bias).to(dtype)
    packed = nn.Sequential(linear)
    pack_linears(packed)
    assert isinstance(packed[0], PackedLinear)
    rows = torch.randn(1, num_rows, 48).to(dtype)
    with torch.inference_mode():
        product = packed(rows)
        expected = nn.functional.linear(
            rows.double(),
            linear.weight.double(),
            None if linear.bias is None else linear.bias.double(),
        )
    assert product.shape == (1, num_rows, 80)
    assert product.dtype is dtype
    torch.testing.assert_close(product.double(), expected, atol=tolerance, rtol=tolerance)


def test_few_numbers_of_rows_are_computed() -> None:
    numbers = {num_rows: rounded_rows(num_rows) for num_rows in range(1, 2049)}
    assert all(numbers[few] == few for few in range(1, EXACT_ROWS + 1))
    assert all(num_rows <= rounded for num_rows, rounded in numbers.items())
    assert all(rounded < 1.25 * num_rows for num_rows, rounded in numbers.items())
    assert len({rounded for num_rows, rounded in numbers.items() if num_rows <= 512}) < 60
    assert {rounded_rows(rounded) for rounded in numbers.values()} == set(numbers.values())


def test_a_whole_model_computes_the_same_logits() -> None:
    plain, packed = build_model("sdpa"), build_model("sdpa")
    pack_linears(packed)
    ids = torch.arange(60)[None]
    with torch.inference_mode():
        expected, found = plain(input_ids=ids).logits, packed(input_ids=ids).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    left = [each for each in packed.modules() if type(each) is nn.Linear]
    assert not left
    assert sum(isinstance(each, PackedLinear) for each in packed.modules()) == 3 * 7 + 1


class Doubled(nn.Linear):
    """Computes something else than its class."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(rows)


@pytest.mark.parametrize(
    "layer", [Doubled(4, 4), nn.Linear(4, 4).double(), nn.Linear(4, 4, device="meta")]
)
def test_what_may_not_be_packed_stays(layer: nn.Linear) -> None:
    model = nn.Sequential(layer)
    pack_linears(model)
    assert model[0] is layer


def test_a_head_that_shares_its_weight_leaves_the_embedding_alone() -> None:
    model = build_model("sdpa")
    model.lm_head.weight = model.model.embed_tokens.weight
    before = model.model.embed_tokens.weight.clone()
    pack_linears(model)
    assert isinstance(model.lm_head, PackedLinear)
    assert torch.equal(model.model.embed_tokens.weight, before)
