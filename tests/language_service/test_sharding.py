"""How models are cut: all published sizes on the meta device, and what a rank reads of a file."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import GptOssConfig, PreTrainedConfig, Qwen2Config, Qwen3MoeConfig

from common.checkpoint import load_tensors
from common.errors import CheckpointError, ConfigError
from common.model_config import load_model_config
from common.model_files import list_tensors
from common.role_check import check_role
from common.tensor_source import TensorSource
from language_service.sharding import Rank, ShardingPlan, check_divides, group_sizes
from language_service.weights import (
    PreparedModel,
    load_language_model,
    prepare_language_model,
)
from tests.language_service.harness import CONFIG
from tests.language_service.language_models import (
    CONFIGS,
    build_language_model,
    write_checkpoint,
)
from tests.published_models import PUBLISHED_MODELS, PublishedFormat, PublishedModel
from tests.sparse_checkpoint import write_published

CPU = torch.device("cpu")
ATTENTION = "model.layers.0.self_attn."


@pytest.fixture(scope="module", params=PUBLISHED_MODELS, ids=lambda model: model.name)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PublishedModel, Path]:
    # Every layer is as the next one.
    model = replace(request.param, text=replace(request.param.text, num_layers=2))
    directory = tmp_path_factory.mktemp("published")
    return model, write_published(model, PublishedFormat.ORIGINAL, directory)


def planned(directory: Path, rank: Rank) -> PreparedModel:
    config, tensors = load_model_config(directory), list_tensors(directory)
    return prepare_language_model(config, tensors, torch.bfloat16, rank, CPU)


@pytest.mark.parametrize("num_ranks", [1, 2, 4, 8])
def test_every_published_size_is_cut_in_shapes_that_add_up(
    published: tuple[PublishedModel, Path], num_ranks: int
) -> None:
    model, directory = published
    plan = planned(directory, Rank(num_ranks - 1, num_ranks))
    # The whole tensors that the parts imply are those of the files, none left and none missing.
    assert check_role(plan.model, plan.entries, plan.sources).problems == ()
    text, state = model.text, plan.model.state_dict()
    num_kv_heads = max(text.num_kv_heads // num_ranks, 1)
    assert state[f"{ATTENTION}q_proj.weight"].shape == (
        text.num_heads * text.head_dim // num_ranks, text.hidden_size
    )  # fmt: skip
    assert state[f"{ATTENTION}k_proj.weight"].shape == (
        num_kv_heads * text.head_dim, text.hidden_size
    )  # fmt: skip
    assert state["lm_head.weight"].shape == (text.vocab_size // num_ranks, text.hidden_size)
    assert state["model.embed_tokens.weight"].shape == (text.vocab_size, text.hidden_size)


@pytest.mark.parametrize("num_ranks", [2, 4, 8])
def test_ranks_together_hold_every_element_of_every_published_size(
    published: tuple[PublishedModel, Path], num_ranks: int
) -> None:
    model, directory = published
    whole = planned(directory, Rank()).model
    plans = [ShardingPlan(whole.config, Rank(index, num_ranks)) for index in range(num_ranks)]
    num_copies = max(num_ranks // model.text.num_kv_heads, 1)
    num_held = 0
    for name, tensor in whole.state_dict().items():
        sources = [plan.source(name, name) for plan in plans]
        parts = [source.part for source in sources if source.is_read]
        each = num_copies if ".k_proj." in name or ".v_proj." in name else 1
        if sources[0].num_parts == 1:
            assert len(parts) in (1, num_ranks)
            num_held += tensor.numel()
        else:
            assert parts == [part for part in range(num_ranks // each) for _ in range(each)]
            assert tensor.shape[sources[0].dimension] % (len(parts) // each) == 0
            num_held += len(set(parts)) * tensor.numel() // sources[0].num_parts
    assert num_held == sum(tensor.numel() for tensor in whole.state_dict().values())


def test_ranks_beyond_the_key_heads_hold_the_one_that_their_queries_read() -> None:
    text = Qwen3MoeConfig(num_attention_heads=32, num_key_value_heads=4)
    name = f"{ATTENTION}k_proj.weight"
    sources = [ShardingPlan(text, Rank(index, 8)).source(name, name) for index in range(8)]
    assert sources == [TensorSource(name, index // 2, 4) for index in range(8)]
    for index in range(8):
        first_query = index * 32 // 8
        assert sources[index].part == first_query // (32 // 4)


QWEN2 = Qwen2Config(
    hidden_size=896, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864,
    vocab_size=151_936,
)  # fmt: skip
GPT_OSS_20B = GptOssConfig(num_hidden_layers=1)
QWEN3_MOE = Qwen3MoeConfig(
    num_attention_heads=32, num_key_value_heads=4, moe_intermediate_size=72, intermediate_size=96
)


@pytest.mark.parametrize(
    ("text", "num_ranks", "words"),
    [
        (QWEN2, 4, "14 attention heads; sizes that work are 1, 2"),
        (CONFIG, 3, "500 tokens in its vocabulary; sizes that work are 1, 2"),
        (GPT_OSS_20B, 3, "64 attention heads; sizes that work are 1, 2, 4, 8, 16, 32, 64"),
        (QWEN3_MOE, 16, "72 columns in each expert; sizes that work are 1, 2, 4, 8"),
    ],
)
def test_a_size_that_does_not_divide_is_refused_with_those_that_do(
    text: PreTrainedConfig, num_ranks: int, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        check_divides(text, num_ranks)


def test_key_heads_must_divide_or_be_divided() -> None:
    text = Qwen2Config(num_attention_heads=24, num_key_value_heads=4, intermediate_size=48,
                       vocab_size=480)  # fmt: skip
    assert group_sizes(text) == (1, 2, 4, 8, 12, 24)
    with pytest.raises(ConfigError, match="has 4 key and value heads"):
        check_divides(text, 6)


def test_dense_layers_of_a_mixture_are_cut_too() -> None:
    text = Qwen3MoeConfig(moe_intermediate_size=96, intermediate_size=100, vocab_size=1024)
    check_divides(text, 8)
    text.mlp_only_layers = [1]
    with pytest.raises(ConfigError, match="100 columns in each feed-forward layer"):
        check_divides(text, 8)


def test_a_parameter_that_nobody_has_thought_of_is_not_copied_to_all() -> None:
    with pytest.raises(CheckpointError, match=r"how to cut model\.layers\.0\.new\.weight"):
        ShardingPlan(QWEN2, Rank(0, 2)).cut("model.layers.0.new.weight")


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_rank_reads_the_bytes_of_its_part_alone(
    kind: str, micro_dir: Path, tmp_path: Path
) -> None:
    directory = write_checkpoint(micro_dir, build_language_model(kind, "eager"), tmp_path)
    config = load_model_config(directory)
    tensors = list_tensors(directory)
    whole, parts = (
        [
            prepare_language_model(config, tensors, torch.float32, Rank(index, size), CPU)
            for index in range(size)
        ]
        for size in (1, 2)
    )
    num_bytes = [
        load_tensors(plan.model, plan.entries, plan.sources, torch.float32, CPU)
        for plan in (*whole, *parts)
    ]
    file_bytes = sum(4 * math.prod(entry.shape) for entry in whole[0].entries.values())
    shared = sum(
        4 * tensor.numel()
        for name, tensor in whole[0].model.state_dict().items()
        if parts[0].model.state_dict()[name].shape == tensor.shape
        and parts[1].sources[name] == TensorSource(parts[0].entries[f"language_model.{name}"].name)
    )
    assert num_bytes[0] == file_bytes
    assert num_bytes[1] + num_bytes[2] == file_bytes + shared


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_other_ranks_hold_may_be_anything(kind: str, micro_dir: Path, tmp_path: Path) -> None:
    directory = write_checkpoint(micro_dir, build_language_model(kind, "eager"), tmp_path)
    config = load_model_config(directory)
    before = load_language_model(directory, config, torch.float32, CPU, Rank(1, 2)).state_dict()
    tensors = load_file(directory / "model.safetensors")
    for name, tensor in tensors.items():
        if name.endswith(("q_proj.weight", "gate_proj.weight", "sinks", "lm_head.weight")):
            tensor[: len(tensor) // 2] = math.nan
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[:, : tensor.shape[1] // 2] = math.nan
        if name.endswith(("o_proj.bias", "down_proj_bias")):
            tensor[:] = math.nan
    save_file(tensors, directory / "model.safetensors")
    after = load_language_model(directory, config, torch.float32, CPU, Rank(1, 2)).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(bool(tensor.isfinite().all()) for tensor in after.values())


def test_fused_gate_and_up_matrices_are_cut_each_for_itself(
    micro_dir: Path, tmp_path: Path
) -> None:
    model = build_language_model("qwen3_moe", "eager")
    apart = write_checkpoint(micro_dir, model, tmp_path / "apart")
    expected = load_language_model(
        apart, load_model_config(apart), torch.float32, CPU, Rank(1, 2)
    ).state_dict()
    fused = write_checkpoint(micro_dir, model, tmp_path / "fused")
    with safe_open(fused / "model.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors = {name: tensor for name, tensor in tensors.items() if ".mlp.experts." not in name}
    for name, tensor in model.state_dict().items():
        if ".mlp.experts." in name:
            tensors[f"language_model.{name}"] = tensor.clone()
    save_file(tensors, fused / "model.safetensors")
    loaded = load_language_model(
        fused, load_model_config(fused), torch.float32, CPU, Rank(1, 2)
    ).state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_a_tied_head_is_cut_from_the_embedding(micro_dir: Path, tmp_path: Path) -> None:
    directory = write_checkpoint(micro_dir, build_language_model("qwen3", "eager"), tmp_path)
    tensors = load_file(directory / "model.safetensors")
    del tensors["language_model.lm_head.weight"]
    save_file(tensors, directory / "model.safetensors")
    document = json.loads((directory / "config.json").read_text())
    document["llm_config"]["tie_word_embeddings"] = True
    (directory / "config.json").write_text(json.dumps(document))
    config = load_model_config(directory)
    model = load_language_model(directory, config, torch.float32, CPU, Rank(1, 2))
    state = model.state_dict()
    table = state["model.embed_tokens.weight"]
    assert torch.equal(state["lm_head.weight"], table[len(table) // 2 :])
