"""Loading: every way of naming, the right tensors and no others, loud errors."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import InternVLForConditionalGeneration, PreTrainedModel

from common.checkpoint import weight_bytes
from common.conversation import PromptMessage, TextPart
from common.errors import CheckpointError
from common.model_config import load_model_config
from common.types import Role
from language_service.prompt import Prompt, TextSegment
from language_service.tokenizer import ChatTokenizer
from language_service.weights import load_language_model
from tests.edited_checkpoint import Change, Edited
from tests.language_service.harness import build_engine, greedy, run, submit
from tests.reference import plain_reference
from tests.reference.conversation import user
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO

CPU = torch.device("cpu")
HEAD = "language_model.lm_head.weight"
LONG_ROPE = {
    "rope_type": "longrope",
    "factor": 2.0,
    "short_factor": [1.0] * 8,
    "long_factor": [2.0] * 8,
}
LAYER = "language_model.model.layers.0.self_attn.q_proj.weight"


def load(directory: Path, dtype: torch.dtype = torch.float32, **text: object) -> PreTrainedModel:
    config = load_model_config(directory)
    changed = replace(config, text={**config.text, **text})
    return load_language_model(directory, changed, dtype, CPU)


def same(one: PreTrainedModel, other: PreTrainedModel) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def with_names_before_version_5(source: Path, target: Path) -> Path:
    tensors = load_file(source / "model.safetensors")
    renamed = {"language_model.lm_head.weight": tensors.pop("lm_head.weight")}
    for name, tensor in tensors.items():
        old = name.removeprefix("model.")
        renamed[old.replace("language_model.", "language_model.model.")] = tensor
    save_file(renamed, target / "model.safetensors")
    (target / "config.json").write_bytes((source / "config.json").read_bytes())
    return target


def test_all_layouts_of_the_same_weights_load_equal(
    flash_model_dir: Path, plain_model_dir: Path, hf_model_dir: Path, tmp_path: Path
) -> None:
    flash = load(flash_model_dir)
    assert same(flash, load(plain_model_dir))
    assert same(flash, load(hf_model_dir))
    assert same(flash, load(with_names_before_version_5(hf_model_dir, tmp_path)))


def test_weights_are_those_that_transformers_loads(hf_model_dir: Path) -> None:
    whole = InternVLForConditionalGeneration.from_pretrained(hf_model_dir)
    model = load(hf_model_dir)
    expected = {f"model.{k}": v for k, v in whole.model.language_model.state_dict().items()}
    expected["lm_head.weight"] = whole.lm_head.weight
    assert expected.keys() == model.state_dict().keys()
    assert all(torch.equal(expected[name], v) for name, v in model.state_dict().items())
    rotary = whole.model.language_model.rotary_emb
    assert torch.equal(model.model.rotary_emb.inv_freq, rotary.inv_freq)


def test_shards_are_read_alike(tmp_path: Path, micro_dir: Path) -> None:
    build_checkpoint(tmp_path, CheckpointOptions(shape=MICRO, dtype="float32", num_shards=3))
    assert same(load(tmp_path), load(micro_dir))


def test_a_loaded_model_answers_as_transformers_does(
    flash_model_dir: Path, hf_model_dir: Path, tokenizer: ChatTokenizer
) -> None:
    question = "How many apples are in the bowl?"
    expected = plain_reference.answer(hf_model_dir, (user(question),), 24)
    engine = build_engine(load(flash_model_dir), eos_token_ids=tokenizer.eos_token_ids)
    answer = submit(engine, "a", prompt_of(tokenizer, question), greedy(24))
    run(engine)
    assert tuple(answer.token_ids) == expected.token_ids
    assert len(set(answer.token_ids)) > 5


def prompt_of(tokenizer: ChatTokenizer, question: str) -> Prompt:
    layout = tokenizer.layout([PromptMessage(Role.USER, (TextPart(question),))])
    return Prompt(tuple(s for s in layout.segments if isinstance(s, TextSegment)))


def test_no_byte_of_the_vision_model_is_held(flash_model_dir: Path) -> None:
    tensors = load_file(flash_model_dir / "model.safetensors")
    language = sum(t.nbytes for name, t in tensors.items() if name.startswith("language_model."))
    model = load(flash_model_dir)
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    assert weight_bytes(model) == language + buffers
    assert buffers < 1024


def test_weights_are_held_in_the_type_asked_for(micro_dir: Path) -> None:
    model = load(micro_dir, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32


@pytest.mark.parametrize("theta", [1e4, 5e5])
def test_rotary_base_survives(micro_dir: Path, theta: float) -> None:
    model = load(micro_dir, rope_theta=theta)
    half = torch.arange(0, 16, 2, dtype=torch.float32) / 16
    assert torch.equal(model.model.rotary_emb.inv_freq, 1 / theta**half)


def test_a_head_in_the_checkpoint_is_never_tied(micro_dir: Path) -> None:
    model = load(micro_dir, tie_word_embeddings=True)
    assert same(model, load(micro_dir))
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()


def test_a_head_is_tied_where_there_is_none_and_the_configuration_says_so(edited: Edited) -> None:
    directory = edited(lambda tensors: tensors.pop(HEAD))
    model = load(directory, tie_word_embeddings=True)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is missing"):
        load(directory)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop(LAYER), "q_proj.weight is missing"),
        (
            lambda tensors: tensors.update({LAYER: torch.zeros(8, 8)}),
            f"{LAYER} in .* has shape",
        ),
        (lambda tensors: tensors.update({LAYER + "s": torch.zeros(1)}), f"{LAYER}s is in"),
        (
            lambda tensors: tensors.update({"mlp3.w": torch.zeros(1)}),
            "mlp3.w in .* belongs neither",
        ),
        (lambda tensors: tensors.update({"lm_head.weight": torch.zeros(1)}), "are the same"),
    ],
)
def test_wrong_tensors_are_named(edited: Edited, change: Change, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        load(edited(change))


def test_wrong_tensors_of_the_vision_model_are_not_looked_at(edited: Edited) -> None:
    load(edited(lambda tensors: tensors.update({"mlp1.1.weight": torch.zeros(1)})))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ({"model_type": "internlm2"}, "'internlm2'; supported are qwen2, qwen3, qwen3_moe, g"),
        ({"model_type": None}, "type None"),
        ({"rope_scaling": LONG_ROPE}, "'longrope'"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "not valid"),
        ({"hidden_size": "wide"}, "not valid"),
    ],
)
def test_unsupported_language_models_are_refused(
    micro_dir: Path, text: dict[str, object], words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        load(micro_dir, **text)
