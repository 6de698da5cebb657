"""Every published size in every format against both roles' modules, by headers alone."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from common.checkpoint_problem import ProblemKind
from common.model_config import load_model_config
from common.model_files import list_tensors
from common.role_check import RoleCheck
from common.tensor_header import TensorEntry
from language_service.weights import check_language_model
from tests.published_models import (
    FLASH_MODELS,
    PUBLISHED_MODELS,
    PublishedFormat,
    PublishedModel,
    formats_of,
    published_model,
)
from tests.published_tensors import published_tensors
from tests.sparse_checkpoint import SHARD_BYTES, write_published
from vision_service.weights import check_vision_model

CASES = [
    (model, each) for model in (*PUBLISHED_MODELS, *FLASH_MODELS) for each in formats_of(model)
]
SLOW = pytest.mark.slow
# The largest and their many experts take a second each; of each a format or two is enough here.
QUICK = {
    ("InternVL3_5-241B-A28B", PublishedFormat.ORIGINAL),
    ("InternVL3_5-30B-A3B", PublishedFormat.TRANSFORMERS),
    ("InternVL3_5-30B-A3B-Flash", PublishedFormat.ORIGINAL),
}
MARKED = [
    pytest.param(
        model,
        each,
        id=f"{model.name}-{each}",
        marks=() if model.text.kind != "qwen3_moe" or (model.name, each) in QUICK else SLOW,
    )
    for model, each in CASES
]
LANGUAGE = ("language_model.", "model.language_model.", "lm_head.")


def both_roles(directory: Path) -> tuple[RoleCheck, RoleCheck]:
    config = load_model_config(directory)
    tensors: Mapping[str, TensorEntry] = list_tensors(directory)
    return check_vision_model(config, tensors), check_language_model(config, tensors)


@pytest.mark.parametrize(("model", "published_format"), MARKED)
def test_every_name_is_mapped_and_none_is_left(
    tmp_path: Path, model: PublishedModel, published_format: PublishedFormat
) -> None:
    vision, language = both_roles(write_published(model, published_format, tmp_path))
    assert not vision.problems
    assert not language.problems
    tensors = published_tensors(model, published_format)
    of_language = sum(each.num_elements for each in tensors if each.name.startswith(LANGUAGE))
    assert language.num_parameters == of_language
    assert vision.num_parameters == sum(each.num_elements for each in tensors) - of_language


def test_the_8b_model_has_exactly_as_many_parameters_as_its_card_says() -> None:
    with TemporaryDirectory() as directory:
        where = write_published(
            published_model("8B"), PublishedFormat.TRANSFORMERS, Path(directory)
        )
        roles = both_roles(where)
    assert sum(role.num_parameters for role in roles) == 8_528_318_464


@pytest.mark.parametrize("shard_bytes", [None, SHARD_BYTES])
def test_one_file_and_shards_are_the_same(tmp_path: Path, shard_bytes: int | None) -> None:
    model = published_model("GPT-OSS-20B-A4B-Preview")
    directory = write_published(model, PublishedFormat.ORIGINAL, tmp_path, shard_bytes)
    assert len(list(directory.glob("*.safetensors"))) == (1 if shard_bytes is None else 9)
    assert not any(role.problems for role in both_roles(directory))


def test_what_another_size_has_is_all_found(tmp_path: Path) -> None:
    """The configuration of one size over the tensors of another: nothing is told but the truth."""
    write_published(published_model("2B"), PublishedFormat.ORIGINAL, tmp_path)
    config = write_published(published_model("4B"), PublishedFormat.ORIGINAL, tmp_path / "4B")
    (config / "config.json").replace(tmp_path / "config.json")
    vision, language = both_roles(tmp_path)
    assert {problem.tensor for problem in vision.problems} == {
        "mlp1.1.weight", "mlp1.1.bias", "mlp1.3.weight", "mlp1.3.bias",
    }  # fmt: skip
    missing = {p.tensor for p in language.problems if p.kind is ProblemKind.MISSING}
    assert missing == {
        each.name
        for each in published_tensors(published_model("4B"), PublishedFormat.ORIGINAL)
        if any(f".layers.{layer}." in each.name for layer in range(28, 36))
        and each.name.startswith("language_model.")
    }
    shapes = {p.tensor for p in language.problems if p.kind is ProblemKind.SHAPE}
    assert "language_model.model.embed_tokens.weight" in shapes
    assert not any("_norm.weight" in name and "self_attn" in name for name in shapes)
