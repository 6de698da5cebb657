"""Checkpoint directories with true headers and no bytes behind them.

A file is its header and a hole: it has its full length and takes no room on the disk, so that a
model of half a terabyte fits into a test.
"""

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from tests.published_configs import config_document
from tests.published_models import PublishedFormat, PublishedModel
from tests.published_tensors import PublishedTensor, published_tensors

ELEMENT_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "U8": 1}
SHARD_BYTES = 5 << 30
INDEX = "model.safetensors.index.json"


def write_published(
    model: PublishedModel,
    published_format: PublishedFormat,
    directory: Path,
    shard_bytes: int | None = SHARD_BYTES,
) -> Path:
    """Write `config.json` and all tensors, in files of up to `shard_bytes`; None for one file."""
    directory.mkdir(parents=True, exist_ok=True)
    document = config_document(model, published_format)
    (directory / "config.json").write_text(json.dumps(document, indent=2))
    write_tensors(directory, published_tensors(model, published_format), shard_bytes)
    return directory


def write_tensors(
    directory: Path, tensors: Sequence[PublishedTensor], shard_bytes: int | None = SHARD_BYTES
) -> None:
    """Write tensors in their order: one file, or shards and their index."""
    shards = _shards(tensors, shard_bytes)
    if len(shards) == 1:
        write_sparse(directory / "model.safetensors", tensors)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_sparse(directory / name, shard)
        weight_map |= dict.fromkeys((tensor.name for tensor in shard), name)
    index = {"metadata": {"total_size": sum(map(num_bytes, tensors))}, "weight_map": weight_map}
    (directory / INDEX).write_text(json.dumps(index))


def write_sparse(file: Path, tensors: Sequence[PublishedTensor]) -> None:
    """Write one file: its header, and a hole where the bytes would be."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + num_bytes(tensor)
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    file.write_bytes(struct.pack("<Q", len(encoded)) + encoded)
    os.truncate(file, 8 + len(encoded) + end)


def num_bytes(tensor: PublishedTensor) -> int:
    """Bytes of a tensor in a file."""
    return tensor.num_elements * ELEMENT_BYTES[tensor.dtype]


def _shards(
    tensors: Sequence[PublishedTensor], shard_bytes: int | None
) -> list[list[PublishedTensor]]:
    shards: list[list[PublishedTensor]] = [[]]
    held = 0
    for tensor in tensors:
        size = num_bytes(tensor)
        if shard_bytes is not None and shards[-1] and held + size > shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(tensor)
        held += size
    return shards
