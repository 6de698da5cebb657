"""What keeps a checkpoint from loading is found before it is loaded, all of it."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.checkpoint_problem import ProblemKind
from common.errors import CheckpointError
from deploy.model_check import check_model, require_loadable
from tests.deploy.broken_checkpoints import BREAKAGES, GATE, QUERY, edited, holding, truncate
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO

SHIPPED = Path(__file__).parents[2] / "models" / "internvl3_5-tiny-flash"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shards")
    build_checkpoint(directory, CheckpointOptions(shape=MICRO, dtype="float32", num_shards=2))
    return directory


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shards, tmp_path / "copy")


def test_a_whole_checkpoint_has_no_problem(shards: Path) -> None:
    check = check_model(shards)
    assert check.will_load
    assert check.config is not None
    assert check.vision is not None
    assert check.language is not None
    files = shards.glob("*.safetensors")
    in_files = sum(tensor.numel() for file in files for tensor in load_file(file).values())
    assert check.vision.num_parameters + check.language.num_parameters == in_files
    require_loadable(shards)


def test_the_shipped_model_has_no_problem() -> None:
    require_loadable(SHIPPED)


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_broken_is_told_with_file_and_tensor(copy: Path, name: str) -> None:
    breakage = BREAKAGES[name]
    breakage.apply(copy)
    check = check_model(copy)
    assert not check.will_load
    (problem,) = check.problems
    assert problem.kind == breakage.kind
    assert all(words in problem.message for words in breakage.words), problem.message
    with pytest.raises(CheckpointError) as refused:
        require_loadable(copy)
    assert refused.value.message == problem.message


def test_everything_that_is_wrong_is_told_at_once(copy: Path) -> None:
    for name in ("wrong shape", "wrong dtype", "no tokenizer"):
        BREAKAGES[name].apply(copy)
    lost = "mlp1.1.weight"
    file = holding(copy, lost)
    tensors = load_file(file)
    del tensors[lost]
    save_file(tensors | {"audio.weight": torch.zeros(2)}, file)
    edited("model.safetensors.index.json", lambda index: index["weight_map"].pop(lost))(copy)
    problems = check_model(copy).problems
    assert {(problem.kind.value, problem.tensor) for problem in problems} == {
        ("tokenizer", ""),
        ("shape", QUERY),
        ("dtype", GATE),
        ("index", "audio.weight"),
        ("extra", "audio.weight"),
        ("missing", lost),
    }
    with pytest.raises(CheckpointError, match=r"has 5 more: dvd check"):
        require_loadable(copy)


def test_what_an_unreadable_file_may_hold_is_not_called_missing(copy: Path) -> None:
    truncate(copy)
    assert [problem.kind for problem in check_model(copy).problems] == [ProblemKind.FILE]
    BREAKAGES["lost shard"].apply(copy)
    assert [problem.kind for problem in check_model(copy).problems] == [ProblemKind.FILE] * 2


def test_a_tokenizer_that_is_larger_than_the_model_is_refused(copy: Path) -> None:
    edited("config.json", lambda config: config["llm_config"].update(vocab_size=99))(copy)
    first = check_model(copy).problems[0]
    assert first.kind is ProblemKind.TOKENIZER
    assert first.message.endswith("tokens, and the language model rows for 99.")


def test_a_directory_without_anything_is_no_model(tmp_path: Path) -> None:
    (problem,) = check_model(tmp_path).problems
    assert "no config.json" in problem.message
