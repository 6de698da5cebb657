"""Every kind of language model: loaded from published names, and exact in the engine."""

from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from common.errors import CheckpointError
from common.model_config import load_model_config
from language_service.attention import PAGED_ATTENTION, PAGED_ATTENTION_REFERENCE
from language_service.scheduler import EngineLimits
from language_service.weights import load_language_model
from tests.language_service.harness import (
    build_engine,
    generate,
    greedy,
    mixed_prompts,
    run,
    submit,
)
from tests.language_service.language_models import (
    CONFIGS,
    build_language_model,
    published_tensors,
    write_checkpoint,
)

CPU = torch.device("cpu")
MIXTURES = ["qwen3_moe", "gpt_oss"]
EXPERT = "language_model.model.layers.0.mlp.experts"


def load(directory: Path) -> PreTrainedModel:
    return load_language_model(directory, load_model_config(directory), torch.float32, CPU)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_checkpoint_gives_the_model_that_it_was_made_of(
    kind: str, micro_dir: Path, tmp_path: Path
) -> None:
    model = build_language_model(kind, "eager")
    loaded = load(write_checkpoint(micro_dir, model, tmp_path))
    mine, theirs = loaded.state_dict(), model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    ours, rotary = loaded.model.rotary_emb, model.model.rotary_emb
    assert torch.equal(ours.inv_freq, rotary.inv_freq)
    assert ours.attention_scaling == rotary.attention_scaling


@pytest.mark.parametrize("kind", MIXTURES)
def test_published_names_are_those_that_transformers_reads(kind: str, tmp_path: Path) -> None:
    model = build_language_model(kind, "eager")
    published = published_tensors(model)
    saved = {n.removeprefix("language_model."): tensor for n, tensor in published.items()}
    save_file(saved, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=torch.float32)
    mine, theirs = loaded.state_dict(), model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("qwen3_moe", f"{EXPERT}.5.up_proj.weight", "5.up_proj.weight is missing"),
        ("qwen3_moe", f"{EXPERT}.0.gate_proj.weight", "gate_up_proj is missing"),
        ("qwen3_moe", "language_model.model.layers.2.mlp.gate.weight", "gate.weight is missing"),
        ("gpt_oss", f"{EXPERT}.down_proj", "experts.down_proj is missing"),
        ("gpt_oss", "language_model.model.layers.1.self_attn.sinks", "sinks is missing"),
    ],
)
def test_a_missing_tensor_is_named(
    kind: str, name: str, words: str, micro_dir: Path, tmp_path: Path
) -> None:
    directory = write_checkpoint(micro_dir, build_language_model(kind, "eager"), tmp_path)
    tensors = load_file(directory / "model.safetensors")
    del tensors[name]
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(CheckpointError, match=words):
        load(directory)


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        (f"{EXPERT}.3.up_proj.weight", torch.zeros(47, 64), r"has shape \[47, 64\]"),
        (f"{EXPERT}.6.up_proj.weight", torch.zeros(48, 64), "6.up_proj.weight is in model"),
    ],
)
def test_a_wrong_expert_is_named(
    name: str, tensor: torch.Tensor, words: str, micro_dir: Path, tmp_path: Path
) -> None:
    model = build_language_model("qwen3_moe", "eager")
    directory = write_checkpoint(micro_dir, model, tmp_path)
    tensors = load_file(directory / "model.safetensors")
    save_file({**tensors, name: tensor}, directory / "model.safetensors")
    with pytest.raises(CheckpointError, match=words):
        load(directory)


MAX_TOKENS = 24
PROMPTS = mixed_prompts()


@pytest.mark.parametrize("attention", [PAGED_ATTENTION, PAGED_ATTENTION_REFERENCE])
@pytest.mark.parametrize("max_batch_tokens", [16, 64, 512])
@pytest.mark.parametrize("kind", MIXTURES)
def test_greedy_answers_equal_generate(kind: str, max_batch_tokens: int, attention: str) -> None:
    limits = EngineLimits(256, max_batch_tokens, max_sequences=4)
    engine = build_engine(build_language_model(kind, attention), limits)
    answers = [submit(engine, str(i), p, greedy(MAX_TOKENS)) for i, p in enumerate(PROMPTS)]
    run(engine)
    assert [answer.token_ids for answer in answers] == generated(kind)


@pytest.mark.parametrize("kind", MIXTURES)
def test_the_expected_answers_are_varied(kind: str) -> None:
    assert len({token_id for answer in generated(kind) for token_id in answer}) > 80


@cache
def generated(kind: str) -> list[list[int]]:
    """What transformers' own `generate` answers."""
    model = build_language_model(kind, "eager")
    return [generate(model, prompt, MAX_TOKENS) for prompt in PROMPTS]


def test_rotary_frequencies_do_not_depend_on_the_step() -> None:
    rotary = build_language_model("gpt_oss", "eager").model.rotary_emb
    x, position = torch.zeros(1), torch.tensor([[3]])
    alone, before = rotary(x, position), rotary.inv_freq.clone()
    beside = rotary(x, torch.tensor([[3, 100_000]]))
    assert torch.equal(rotary.inv_freq, before)
    assert torch.equal(alone[0][0, 0], beside[0][0, 0])
    assert torch.equal(alone[1][0, 0], beside[1][0, 0])
