"""Names of the language model's tensors in every format, of those that are there and those not."""

from pathlib import Path

import pytest

from common.checkpoint_problem import ProblemKind
from common.tensor_header import TensorEntry
from language_service.tensor_names import EMBEDDING, HEAD, language_tensors, tensor_name
from tests.published_models import PublishedFormat, published_model
from tests.published_tensors import published_tensors

FILE = Path("model.safetensors")


def entries(published_format: PublishedFormat, *more: str) -> dict[str, TensorEntry]:
    tensors = published_tensors(published_model("1B"), published_format)
    names = [*(tensor.name for tensor in tensors), *more]
    return {name: TensorEntry(name, FILE, "BF16", (1,), 0, 2) for name in names}


@pytest.mark.parametrize("published_format", PublishedFormat)
def test_a_missing_tensor_is_named_as_its_neighbours_are(published_format: PublishedFormat) -> None:
    found = language_tensors(entries(published_format))
    assert not found.foreign
    names = {parameter: entry.name for parameter, entry in found.entries.items()}
    assert len(names) == 2 + 1 + 28 * 11
    for parameter in (HEAD, "model.norm.weight", "model.layers.3.mlp.up_proj.weight"):
        del found.entries[parameter]
        assert tensor_name(found.entries, parameter) == names[parameter]


def test_without_neighbours_the_parameter_itself_is_named() -> None:
    assert tensor_name({}, EMBEDDING) == EMBEDDING


def test_tensors_of_no_role_and_two_of_one_name_are_told() -> None:
    found = language_tensors(entries(PublishedFormat.ORIGINAL, "audio.weight", "lm_head.weight"))
    assert [(each.kind, each.tensor) for each in found.foreign] == [
        (ProblemKind.EXTRA, "audio.weight"),
        (ProblemKind.EXTRA, "lm_head.weight"),
    ]
    assert "language_model.lm_head.weight in model.safetensors and" in found.foreign[1].message
