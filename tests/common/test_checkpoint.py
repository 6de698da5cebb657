"""Filling a module from files: the right rows, the right type, and errors that name the tensor."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from common.checkpoint import load_tensors, weight_bytes
from common.errors import CheckpointError
from common.model_files import list_tensors
from common.tensor_source import StackedSource, TensorSource

Tensors = dict[str, torch.Tensor]
FUSED = torch.arange(24, dtype=torch.float32).view(6, 4)
BIAS = torch.tensor([1.0, 2.0])
SOURCES = {
    "q.weight": TensorSource("attn.qkv.weight", part=0, num_parts=3),
    "k.weight": TensorSource("attn.qkv.weight", part=1, num_parts=3),
    "v.weight": TensorSource("attn.qkv.weight", part=2, num_parts=3),
    "v.bias": TensorSource("v.bias"),
}


class Attention(nn.Module):
    """Three matrices that a checkpoint stores as one."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(4, 2, bias=False)
        self.k = nn.Linear(4, 2, bias=False)
        self.v = nn.Linear(4, 2)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Attention]:
    """Save tensors, then fill a module from the file."""

    def load(tensors: Tensors, dtype: torch.dtype = torch.float32) -> Attention:
        save_file(tensors, tmp_path / "model.safetensors")
        with torch.device("meta"):
            module = Attention()
        entries = list_tensors(tmp_path)
        load_tensors(module, entries, SOURCES, dtype, torch.device("cpu"))
        return module

    return load


def test_a_fused_tensor_is_cut_by_rows(load: Callable[..., Attention]) -> None:
    module = load({"attn.qkv.weight": FUSED, "v.bias": BIAS})
    for part, linear in enumerate((module.q, module.k, module.v)):
        assert torch.equal(linear.weight, FUSED[2 * part : 2 * part + 2])
    assert torch.equal(module.v.bias, BIAS)


def test_weights_are_copies_and_not_views_of_the_file(load: Callable[..., Attention]) -> None:
    module = load({"attn.qkv.weight": FUSED, "v.bias": BIAS})
    for parameter in module.parameters():
        assert parameter.untyped_storage().nbytes() == parameter.nbytes
        assert parameter.data_ptr() % 64 == 0


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_any_stored_type_becomes_the_wanted_one(
    load: Callable[..., Attention], stored: torch.dtype, wanted: torch.dtype
) -> None:
    module = load({"attn.qkv.weight": FUSED.to(stored), "v.bias": BIAS.to(stored)}, wanted)
    assert torch.equal(module.k.weight, FUSED[2:4].to(wanted))
    assert module.v.bias.dtype == wanted


@pytest.mark.parametrize("name", ["attn.qkv.weight", "v.bias"])
def test_a_missing_tensor_is_named(load: Callable[..., Attention], name: str) -> None:
    tensors = {"attn.qkv.weight": FUSED, "v.bias": BIAS}
    del tensors[name]
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load(tensors)


def test_an_extra_tensor_is_named(load: Callable[..., Attention]) -> None:
    with pytest.raises(CheckpointError, match=r"Tensor q\.bias is in model\.safetensors but not"):
        load({"attn.qkv.weight": FUSED, "v.bias": BIAS, "q.bias": BIAS.clone()})


def test_a_misshapen_tensor_is_named_with_both_shapes(load: Callable[..., Attention]) -> None:
    with pytest.raises(CheckpointError, match=r"\[5, 4\], the configuration asks for \[6, 4\]"):
        load({"attn.qkv.weight": FUSED[:5], "v.bias": BIAS})


def test_a_type_that_cannot_be_loaded_is_named(load: Callable[..., Attention]) -> None:
    with pytest.raises(CheckpointError, match=r"v\.bias in .* has unsupported type I64"):
        load({"attn.qkv.weight": FUSED, "v.bias": BIAS.long()})


def test_a_file_damaged_after_the_check_is_a_checkpoint_error(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"attn.qkv.weight": FUSED, "v.bias": BIAS}, file)
    entries = list_tensors(tmp_path)
    file.write_bytes(file.read_bytes()[:-4])
    with torch.device("meta"):
        module = Attention()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a valid"):
        load_tensors(module, entries, SOURCES, torch.float32, torch.device("cpu"))


def test_weight_bytes_counts_what_is_held(load: Callable[..., Attention]) -> None:
    tensors = {"attn.qkv.weight": FUSED, "v.bias": BIAS}
    assert weight_bytes(load(tensors)) == 4 * (24 + 2)
    assert weight_bytes(load(tensors, torch.bfloat16)) == 2 * (24 + 2)


class Experts(nn.Module):
    """All experts' matrices in one parameter, two for each."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = nn.Parameter(torch.empty(3, 4, 2))


def test_experts_that_lie_apart_are_stacked_over_files(tmp_path: Path) -> None:
    matrices = torch.arange(24, dtype=torch.float32).view(3, 2, 2, 2)
    files: dict[str, str] = {}
    for expert, pair in enumerate(matrices):
        named = {f"{expert}.{half}": matrix.clone() for half, matrix in enumerate(pair)}
        save_file(named, tmp_path / f"part-{expert}.safetensors")
        files |= dict.fromkeys(named, f"part-{expert}.safetensors")
    index = {"weight_map": files}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with torch.device("meta"):
        module = Experts()
    names = tuple((f"{expert}.0", f"{expert}.1") for expert in range(3))
    sources = {"pairs": StackedSource(names)}
    load_tensors(module, list_tensors(tmp_path), sources, torch.float32, torch.device("cpu"))
    assert torch.equal(module.pairs, matrices.view(3, 4, 2))
