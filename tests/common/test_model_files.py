"""Files and indexes of tensors, fingerprints."""

import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from common.errors import CheckpointError
from common.model_files import (
    INDEX_FILE,
    SAMPLE_BYTES,
    fingerprint,
    list_tensors,
    read_tensor_table,
)

TENSORS = {
    "vision_model.a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "language_model.b": torch.ones(5, dtype=torch.bfloat16),
    "empty": torch.zeros(0, 4),
}
LARGE = torch.arange(10_000, dtype=torch.float32)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    save_file(TENSORS | {"large": LARGE}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "internvl_chat"}')
    return tmp_path


def write_index(directory: Path, weight_map: object) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_a_header_tells_where_each_tensor_is(model_dir: Path) -> None:
    entries = list_tensors(model_dir)
    assert set(entries) == {*TENSORS, "large"}
    entry = entries["vision_model.a"]
    assert (entry.dtype, entry.shape) == ("F32", (2, 3))
    content = entry.file.read_bytes()[entry.begin : entry.end]
    assert torch.equal(torch.frombuffer(bytearray(content), dtype=torch.float32).view(2, 3),
                       TENSORS["vision_model.a"])  # fmt: skip
    assert entries["empty"].begin == entries["empty"].end


@pytest.mark.parametrize("length", [0, 4, 8, 40, 300])
def test_a_truncated_file_is_refused(model_dir: Path, length: int) -> None:
    file = model_dir / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        list_tensors(model_dir)


@given(position=st.integers(0, 350), value=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_flipped_byte_raises_nothing_but_a_checkpoint_error(position: int, value: int) -> None:
    with TemporaryDirectory() as directory:
        save_file(TENSORS, Path(directory, "model.safetensors"))
        content = bytearray(Path(directory, "model.safetensors").read_bytes())
        content[position % len(content)] = value
        Path(directory, "model.safetensors").write_bytes(content)
        try:
            fingerprint(Path(directory))
        except CheckpointError:
            return


def test_an_index_joins_files(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(3)}, tmp_path / "two.safetensors")
    write_index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    assert {name: entry.file.name for name, entry in list_tensors(tmp_path).items()} == {
        "a": "one.safetensors",
        "b": "two.safetensors",
    }


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_file({"a": torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    write_index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(CheckpointError, match=r"Tensor a is in one\.safetensors and two"):
        list_tensors(tmp_path)


@pytest.mark.parametrize(
    "weight_map",
    [{"a": "../x.safetensors"}, {"a": "gone.safetensors"}, {"a": 5}, {}, [], None, {"a": ""}],
)
def test_a_wrong_index_is_refused(tmp_path: Path, weight_map: object) -> None:
    write_index(tmp_path, weight_map)
    with pytest.raises(CheckpointError):
        list_tensors(tmp_path)


def test_the_index_is_compared_with_the_headers_both_ways(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "one.safetensors")
    save_file({"c": torch.zeros(3)}, tmp_path / "two.safetensors")
    placed = {"a": "one.safetensors", "c": "one.safetensors", "d": "two.safetensors"}
    write_index(tmp_path, placed)
    table = read_tensor_table(tmp_path)
    assert [problem.message for problem in table.problems] == [
        f"{INDEX_FILE} places tensor c in one.safetensors, but it is in two.safetensors.",
        f"{INDEX_FILE} places tensor d in two.safetensors, which does not hold it.",
        f"Tensor b is in one.safetensors, but not in {INDEX_FILE}.",
    ]
    assert [problem.tensor for problem in table.problems] == ["c", "d", "b"]
    with pytest.raises(CheckpointError, match=r"places tensor c in .* It has 2 more: dvd check"):
        list_tensors(tmp_path)


def test_every_broken_file_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    placed = {name: f"{name}.safetensors" for name in "abcd"}
    for name in "abc":
        save_file({name: torch.zeros(9)}, tmp_path / placed[name])
    shortened = tmp_path / placed["b"]
    os.truncate(shortened, shortened.stat().st_size - 1)
    (tmp_path / placed["c"]).write_bytes(b"no header")
    write_index(tmp_path, placed)
    table = read_tensor_table(tmp_path)
    assert set(table.entries) == {"a", "b"}
    assert not table.is_whole
    assert [problem.file for problem in table.problems] == [placed[name] for name in "bcd"]


def test_an_index_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "one.safetensors")
    document = '{"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}}'
    (tmp_path / INDEX_FILE).write_text(document)
    with pytest.raises(CheckpointError, match="has the key a twice"):
        read_tensor_table(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "m.pt"])
def test_pickled_weights_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match=f"{name} alone: reading such a file can run code"):
        list_tensors(tmp_path)


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor"):
        list_tensors(tmp_path)


def test_equal_files_have_equal_fingerprints(model_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model_dir, tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(model_dir)
    assert len(fingerprint(copy)) == 32


@pytest.mark.parametrize("row", [0, 7, 9_999, 9_999 - SAMPLE_BYTES // 4 + 1])
def test_a_sampled_weight_changes_the_fingerprint(model_dir: Path, row: int) -> None:
    before = fingerprint(model_dir)
    large = LARGE.clone()
    large[row] += 1
    save_file(TENSORS | {"large": large}, model_dir / "model.safetensors")
    assert fingerprint(model_dir) != before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_configuration_file_changes_the_fingerprint(model_dir: Path, name: str) -> None:
    before = fingerprint(model_dir)
    (model_dir / name).write_text("{}")
    assert fingerprint(model_dir) != before


def test_a_renamed_or_reshaped_tensor_changes_the_fingerprint(model_dir: Path) -> None:
    before = fingerprint(model_dir)
    reshaped = TENSORS | {"large": LARGE.view(100, 100)}
    save_file(reshaped, model_dir / "model.safetensors")
    after = fingerprint(model_dir)
    save_file({f"{name}x": t for name, t in reshaped.items()}, model_dir / "model.safetensors")
    assert len({before, after, fingerprint(model_dir)}) == 3
