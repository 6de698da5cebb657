"""Tuned models compute what they did."""

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from language_service.attention import PAGED_ATTENTION
from language_service.fused_norms import FusedRmsNorm, fuse_norms
from language_service.model_tuning import tune
from language_service.packed_linear import PackedLinear
from tests.language_service.harness import (
    build_engine,
    generate,
    greedy,
    mixed_prompts,
    run,
    submit,
)
from tests.language_service.language_models import CONFIGS, build_language_model


@pytest.mark.parametrize("kind", [Qwen3RMSNorm, GptOssRMSNorm])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_a_fused_norm_is_the_norm(
    kind: type[nn.Module], dtype: torch.dtype, tolerance: float
) -> None:
    norm = kind(48, eps=1e-5).to(dtype)
    nn.init.normal_(norm.weight, mean=1.0, std=0.2)
    fused = FusedRmsNorm(norm.weight, norm.variance_epsilon)
    rows = (torch.randn(3, 7, 48) * 5).to(dtype)
    found = fused(rows)
    assert found.dtype is dtype
    torch.testing.assert_close(found, norm(rows), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kind", CONFIGS)
def test_fused_norms_leave_answers_and_names_as_they_were(kind: str) -> None:
    model = build_language_model(kind, PAGED_ATTENTION)
    names = list(model.state_dict())
    fuse_norms(model)
    assert list(model.state_dict()) == names
    norms = [each for each in model.modules() if type(each).__name__.endswith("RMSNorm")]
    assert norms == []
    engine, prompt = build_engine(model), mixed_prompts((33, 18))[1]
    answer = submit(engine, "a", prompt, greedy(8))
    run(engine)
    assert answer.token_ids == generate(build_language_model(kind, "eager"), prompt, 8)


def test_on_a_cpu_weights_are_packed(plain_model: PreTrainedModel) -> None:
    model = build_language_model("qwen3", PAGED_ATTENTION)
    tune(model, compiles=False)
    assert any(isinstance(each, PackedLinear) for each in model.modules())
    assert not any(isinstance(each, PackedLinear) for each in plain_model.modules())
