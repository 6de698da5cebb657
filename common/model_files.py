"""Where a model's files are, what tensors they hold, and the fingerprint of both; no torch.

The supervisor and every replica hash the same files, so that the router pairs only replicas that
serve the same model. Headers are parsed here because they are needed before torch is there.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from operator import index
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from common.errors import CheckpointError
from common.model_config import read_json

WANTED_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")
HASHED_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
# A file of this name says that a checkpoint was never trained.
RANDOM_WEIGHTS_NOTE = "RANDOM_WEIGHTS.txt"
MAX_HEADER_BYTES = 100 << 20
# Of the types that can be loaded; a tensor of another type is refused by whoever wants it.
DTYPE_BYTES = {"F32": 4, "BF16": 2, "F16": 2}
SAMPLE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor as a safetensors header describes it.

    Attributes:
        name: Name in the file.
        file: File that holds it.
        dtype: safetensors' name, such as `BF16`.
        shape: Dimensions.
        begin: First byte in the file.
        end: One past its last byte in the file.
    """

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def resolve_model(model: str, revision: str | None = None) -> Path:
    """Find a model directory: a local path, or a hub id through huggingface_hub and its cache.

    Raises:
        CheckpointError: Neither a directory nor an id that can be fetched or is cached.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise CheckpointError(f"{model} is neither a directory nor a hub id such as owner/name.")
    try:
        found = snapshot_download(model, revision=revision, allow_patterns=list(WANTED_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as cause:
        raise CheckpointError(
            f"{model} is no local directory and cannot be fetched from the hub "
            f"({type(cause).__name__}); offline, it must be in the cache (HF_HOME)."
        ) from cause
    return Path(found)


def list_tensors(directory: Path) -> dict[str, TensorEntry]:
    """List every tensor of a checkpoint, of one file or of an index, by name.

    Raises:
        CheckpointError: No safetensors files, a malformed header, or a tensor named twice.
    """
    tensors: dict[str, TensorEntry] = {}
    for file in _weight_files(directory):
        for entry in read_header(file):
            if entry.name in tensors:
                raise CheckpointError(
                    f"Tensor {entry.name} is in {tensors[entry.name].file.name} and {file.name}."
                )
            tensors[entry.name] = entry
    return tensors


def read_header(file: Path) -> Iterator[TensorEntry]:
    """Read the tensor table of one safetensors file.

    Raises:
        CheckpointError: The header is malformed or points outside the file.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else MAX_HEADER_BYTES + 1
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise CheckpointError(f"{file.name} has no valid safetensors header.")
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError) as cause:
            raise CheckpointError(f"{file.name} has no valid safetensors header.") from cause
    if not isinstance(header, dict):
        raise CheckpointError(f"{file.name} has no valid safetensors header.")
    for name, facts in header.items():
        if name != "__metadata__":
            entry = _entry(name, file, facts, 8 + length)
            if entry.end > size:
                raise CheckpointError(f"{file.name} is truncated: tensor {name} ends outside it.")
            yield entry


def _entry(name: str, file: Path, facts: Any, data_begin: int) -> TensorEntry:
    """Check what a header says about one tensor; `facts` is any JSON value."""
    try:
        begin, end = (index(offset) for offset in facts["data_offsets"])
        shape = tuple(index(side) for side in facts["shape"])
        element_bytes = DTYPE_BYTES.get(facts["dtype"])
    except (KeyError, TypeError, ValueError) as cause:
        raise CheckpointError(f"{file.name} describes tensor {name} wrongly.") from cause
    consistent = element_bytes is None or end - begin == prod(shape) * element_bytes
    if not consistent or not 0 <= begin <= end or any(side < 0 for side in shape):
        raise CheckpointError(f"{file.name} describes tensor {name} wrongly.")
    return TensorEntry(name, file, facts["dtype"], shape, data_begin + begin, data_begin + end)


def fingerprint(directory: Path) -> str:
    """Hash configuration files, tensor headers and a sample of every tensor's bytes.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in HASHED_FILES:
        path = directory / name
        if path.is_file():
            digest.update(name.encode() + hashlib.blake2b(path.read_bytes()).digest())
    for _, entry in sorted(list_tensors(directory).items()):
        digest.update(f"{entry.name} {entry.dtype} {entry.shape}".encode())
        with entry.file.open("rb") as stream:
            stream.seek(entry.begin)
            digest.update(stream.read(min(SAMPLE_BYTES, entry.end - entry.begin)))
            stream.seek(max(entry.begin, entry.end - SAMPLE_BYTES))
            digest.update(stream.read(entry.end - stream.tell()))
    return digest.hexdigest()


def _weight_files(directory: Path) -> list[Path]:
    table = read_json(directory / "model.safetensors.index.json")
    if table is None:
        single = directory / "model.safetensors"
        if not single.is_file():
            raise CheckpointError(
                f"{directory} holds neither model.safetensors nor model.safetensors.index.json."
            )
        return [single]
    try:
        files = [directory / name for name in sorted(set(table["weight_map"].values()))]
    except (KeyError, TypeError, AttributeError) as cause:
        raise CheckpointError("model.safetensors.index.json has no valid weight_map.") from cause
    for file in files:
        if file.parent != directory or not file.is_file():
            raise CheckpointError(f"The index names {file.name}, which is not in {directory}.")
    if not files:
        raise CheckpointError("model.safetensors.index.json names no file.")
    return files
