"""Headers read and fuzzed."""

import json
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from common.checkpoint_problem import refuse
from common.errors import CheckpointError
from common.tensor_header import length_problems, parse_header


def file_with_header(directory: Path, header: bytes, data: bytes = b"") -> Path:
    file = directory / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return file


def read_whole(file: Path) -> None:
    """Read a header and compare it with the length of its file, as whoever loads it does."""
    refuse(length_problems(parse_header(file)))


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(CheckpointError, match="no valid safetensors header"):
        parse_header(file)


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
        read_whole(file)


@pytest.mark.parametrize("header", [b"[]", b"1", b"{", b"\xff\xff", b"[" * 100_000])
def test_a_header_that_is_no_object_is_refused(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(CheckpointError, match="no valid safetensors header"):
        parse_header(file_with_header(tmp_path, header))


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
            entries = parse_header(file)
        except CheckpointError:
            return
        assert all(8 <= entry.begin <= entry.end for entry in entries)
        is_whole = all(entry.end <= size for entry in entries)
        assert is_whole or length_problems(entries)


DESCRIBED = json.dumps(GOOD)


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        ('{"w": %s, "w": %s}', 8, "model.safetensors describes tensor w twice"),
        ('{"w": %s, "v": %s}', 8, "describes tensor v wrongly"),
        ('{"w": %s}', 12, "has 4 bytes behind its last tensor, w"),
        ('{"w": %s}', 6, "is truncated: it has .* tensor w ends outside it"),
    ],
)
def test_what_safetensors_would_not_read_is_named(
    tmp_path: Path, header: str, data: int, words: str
) -> None:
    content = header.replace("%s", DESCRIBED).encode()
    file = file_with_header(tmp_path, content, bytes(data))
    with pytest.raises(CheckpointError, match=words):
        read_whole(file)
    if "twice" not in words:  # safetensors itself takes the last of the two
        with pytest.raises(SafetensorError):
            safe_open(file, framework="pt").__enter__()


def test_a_hole_between_tensors_is_refused(tmp_path: Path) -> None:
    late = GOOD | {"data_offsets": [8, 16]}
    for header in ({"w": late}, {"w": GOOD, "v": GOOD | {"data_offsets": [16, 24]}}):
        file = file_with_header(tmp_path, json.dumps(header).encode(), bytes(24))
        with pytest.raises(CheckpointError, match="wrongly"):
            parse_header(file)


def test_a_truncated_file_says_how_many_tensors_it_has_lost(tmp_path: Path) -> None:
    three = {name: GOOD | {"data_offsets": [8 * i, 8 * i + 8]} for i, name in enumerate("abc")}
    file = file_with_header(tmp_path, json.dumps(three).encode(), bytes(10))
    (problem,) = length_problems(parse_header(file))
    assert "tensor c ends outside it, and 1 others" in problem.message
