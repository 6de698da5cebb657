"""What is trained is what is served: weights go into a checkpoint and come back as they were."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from common.model_config import CheckpointLayout, load_model_config
from common.resolution_rule import ResolutionThresholds
from language_service.tokenizer import ChatTokenizer
from language_service.weights import load_language_model
from training.trainable_model import INIT_STD, TrainableModel, write_untrained
from vision_service.weights import load_vision_model

CPU = torch.device("cpu")
LEARNT = ResolutionThresholds(relative=0.4, absolute=0.6)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("untrained")
    write_untrained(directory, seed=3)
    return directory


@pytest.fixture(scope="module")
def stirred(untrained: Path) -> TrainableModel:
    """No two rows alike, so that nothing can be swapped unnoticed."""
    model = TrainableModel(untrained, CPU)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=source))
    return model


def equal(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    same = all(torch.equal(ours[name], theirs[name]) for name in ours)
    return same and ours.keys() == theirs.keys()


def test_weights_come_back_as_they_were(stirred: TrainableModel, tmp_path: Path) -> None:
    stirred.save(tmp_path, "float32", LEARNT)
    assert equal(TrainableModel(tmp_path, CPU), stirred)
    assert load_model_config(tmp_path).thresholds == LEARNT


def test_saving_where_it_was_loaded_from_is_safe(stirred: TrainableModel, tmp_path: Path) -> None:
    stirred.save(tmp_path, "float32", LEARNT)
    loaded = TrainableModel(tmp_path, CPU)
    before = (tmp_path / "model.safetensors").read_bytes()
    loaded.save(tmp_path, "float32", LEARNT)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert equal(loaded, stirred)


def test_both_services_load_what_was_saved(stirred: TrainableModel, tmp_path: Path) -> None:
    directory = tmp_path / "new" / "directory"
    stirred.save(directory, "bfloat16", LEARNT)
    config = load_model_config(directory)
    assert config.layout is CheckpointLayout.ORIGINAL
    vision = load_vision_model(directory, config, torch.bfloat16, CPU)
    language = load_language_model(directory, config, torch.bfloat16, CPU)
    for ours, served in ((stirred.vision, vision), (stirred.language, language)):
        for name, tensor in served.state_dict().items():
            assert torch.equal(tensor, ours.state_dict()[name].bfloat16())
    assert ChatTokenizer(directory).vocabulary_size <= config.text["vocab_size"]


def test_published_names_are_all_there(
    stirred: TrainableModel, tmp_path: Path, flash_model_dir: Path
) -> None:
    stirred.save(tmp_path, "float32", LEARNT)
    published = load_file(flash_model_dir / "model.safetensors")
    saved = load_file(tmp_path / "model.safetensors")
    assert {n: t.shape for n, t in saved.items()} == {n: t.shape for n, t in published.items()}


def test_everything_can_learn(untrained: Path) -> None:
    model = TrainableModel(untrained, CPU)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.device == CPU
    pixels = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    for compressed in (True, False):
        visual = model.vision.project(model.vision.encode(pixels), [compressed])
        model.language(inputs_embeds=visual[None]).logits.square().sum().backward()
    still = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    # The gate is trained on its own; the embedding is looked up by text alone.
    untouched = ("vision.gating.", "vision.pooling_before_gating.", "language.model.embed_tokens.")
    assert still
    assert all(name.startswith(untouched) for name in still)


def test_training_starts_from_small_matrices_and_plain_norms(untrained: Path) -> None:
    for name, tensor in load_file(untrained / "model.safetensors").items():
        if name.endswith("bias"):
            assert (tensor == 0).all()
        elif tensor.dim() == 1:
            assert (tensor == 1).all()
        else:
            fan_in = name.startswith(("mlp", "gating", "pooling_before_gating"))
            std = tensor.shape[-1] ** -0.5 if fan_in else INIT_STD
            margin = 4 / tensor.numel() ** 0.5
            assert float(tensor.std()) == pytest.approx(std, rel=margin)
            assert abs(float(tensor.mean())) < margin * std


def test_no_two_tensors_start_alike(untrained: Path) -> None:
    drawn = [t for t in load_file(untrained / "model.safetensors").values() if t.dim() > 1]
    assert len({tuple(tensor.flatten()[:8].tolist()) for tensor in drawn}) == len(drawn)


def test_equal_seeds_start_from_equal_bytes(untrained: Path, tmp_path: Path) -> None:
    write_untrained(tmp_path / "same", seed=3)
    write_untrained(tmp_path / "other", seed=4)
    for file in untrained.iterdir():
        assert (tmp_path / "same" / file.name).read_bytes() == file.read_bytes()
    weights = "model.safetensors"
    assert (tmp_path / "other" / weights).read_bytes() != (untrained / weights).read_bytes()
