"""Headers read and fuzzed, indexes, fingerprints."""

import json
import shutil
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from common.errors import CheckpointError
from common.model_files import SAMPLE_BYTES, fingerprint, list_tensors, read_header, resolve_model

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


def file_with_header(directory: Path, header: bytes, data: bytes = b"") -> Path:
    file = directory / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return file


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


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(CheckpointError, match="no valid safetensors header"):
        list(read_header(file))


GOOD: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "change",
    [
        {"data_offsets": [0, 16]},
        {"data_offsets": [0, 4]},
        {"data_offsets": [8, 0]},
        {"data_offsets": [-8, 0]},
        {"data_offsets": [0]},
        {"data_offsets": "ab"},
        {"data_offsets": [0.0, 8.0]},
        {"data_offsets": None},
        {"shape": [-2]},
        {"shape": [-1, -2]},
        {"shape": ["2"]},
        {"shape": 2},
        {"dtype": []},
    ],
)
def test_a_wrong_description_names_the_tensor(tmp_path: Path, change: dict[str, Any]) -> None:
    file = file_with_header(tmp_path, json.dumps({"w": GOOD | change}).encode(), bytes(8))
    with pytest.raises(CheckpointError, match=r"tensor w\b"):
        list(read_header(file))


@pytest.mark.parametrize("header", [b"[]", b"1", b"{", b"\xff\xff", b"[" * 100_000])
def test_a_header_that_is_no_object_is_refused(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(CheckpointError, match="no valid safetensors header"):
        list(read_header(file_with_header(tmp_path, header)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "I8", 7, None]) | JSON,
        "shape": st.lists(st.integers(-2, 9), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(-9, 99), max_size=3) | JSON,
    },
)
HEADERS = (
    st.dictionaries(st.text(max_size=8), FACTS | JSON, max_size=4).map(
        lambda header: json.dumps(header).encode()
    )
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
)


@given(header=HEADERS, data=st.binary(max_size=64))
@settings(max_examples=400, deadline=None)
def test_a_malformed_header_raises_nothing_but_a_checkpoint_error(
    header: bytes, data: bytes
) -> None:
    with TemporaryDirectory() as directory:
        file = file_with_header(Path(directory), header, data)
        size = file.stat().st_size
        try:
            entries = list(read_header(file))
        except CheckpointError:
            return
        assert all(8 <= entry.begin <= entry.end <= size for entry in entries)


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


def test_a_local_directory_is_a_model(tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path.resolve()


@pytest.mark.parametrize("model", ["./gone", "/gone", "~/gone-model", "gone", "a/b/c"])
def test_what_is_neither_a_directory_nor_a_hub_id_is_refused(model: str) -> None:
    with pytest.raises(CheckpointError, match="neither a directory nor a hub id"):
        resolve_model(model)
