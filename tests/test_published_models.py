"""The list of published tensors against published numbers."""

from pathlib import Path

import pytest

from common.model_files import list_tensors
from tests.published_models import (
    FLASH_MODELS,
    PUBLISHED_MODELS,
    PublishedFormat,
    PublishedModel,
    formats_of,
    published_model,
)
from tests.published_tensors import published_tensors
from tests.sparse_checkpoint import write_published


def count(model: PublishedModel, published_format: PublishedFormat, prefix: str = "") -> int:
    tensors = published_tensors(model, published_format)
    return sum(each.num_elements for each in tensors if each.name.startswith(prefix))


@pytest.mark.parametrize("model", PUBLISHED_MODELS, ids=lambda model: model.name)
def test_parameters_are_as_many_as_the_paper_says_in_every_format(model: PublishedModel) -> None:
    counts = {count(model, each) for each in formats_of(model)}
    assert len(counts) == 1
    assert round(counts.pop() / 1e9, 1) == model.billions


def test_parameters_are_exactly_those_of_the_published_cards() -> None:
    assert count(published_model("8B"), PublishedFormat.TRANSFORMERS) == 8_528_318_464
    vision = {model.name: count(model, PublishedFormat.ORIGINAL, "vision_model.")
              for model in PUBLISHED_MODELS}  # fmt: skip
    assert vision["InternVL3_5-8B"] == 304_012_288
    assert vision["InternVL3_5-241B-A28B"] == 5_536_496_000
    # 4.98 GB, the size of its one file on the hub.
    assert count(published_model("2B-Flash"), PublishedFormat.ORIGINAL) * 2 == 4_982_110_212


@pytest.mark.parametrize("model", FLASH_MODELS, ids=lambda model: model.name)
def test_flash_adds_the_second_projector_and_the_gate(model: PublishedModel) -> None:
    width = model.vision.hidden_size
    plain = published_model(model.name.removeprefix("InternVL3_5-").removesuffix("-Flash"))
    added = count(model, PublishedFormat.ORIGINAL) - count(plain, PublishedFormat.ORIGINAL)
    assert added == sum(
        count(model, PublishedFormat.ORIGINAL, prefix)
        for prefix in ("mlp2.", "pooling_before_gating.", "gating.")
    )
    gate = count(model, PublishedFormat.ORIGINAL, "gating.")
    assert round(gate / 1e6, 1) == (33.6 if width == 1024 else 327.8)


@pytest.mark.parametrize("shard_bytes", [None, 1 << 30])
def test_a_directory_holds_what_is_listed(tmp_path: Path, shard_bytes: int | None) -> None:
    model = published_model("1B")
    directory = write_published(model, PublishedFormat.ORIGINAL, tmp_path / "1B", shard_bytes)
    listed = published_tensors(model, PublishedFormat.ORIGINAL)
    found = list_tensors(directory)
    assert {each.name: (each.shape, each.dtype) for each in listed} == {
        each.name: (each.shape, each.dtype) for each in found.values()
    }
    files = list(directory.glob("*.safetensors"))
    assert len(files) == (1 if shard_bytes is None else 2)
    assert sum(each.num_elements * 2 for each in listed) < sum(f.stat().st_size for f in files)
    assert sum(file.stat().st_blocks * 512 for file in files) < 1 << 20
