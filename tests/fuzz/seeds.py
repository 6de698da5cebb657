"""Writes the inputs that fuzzing starts from: whole streams, and streams with one thing wrong.

python -m tests.fuzz.seeds tests/fuzz/corpus
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch

from common.stream_codec import PayloadChunk, encode_message
from common.tensor_codec import checksum
from protos.dvd.v1 import embedding_pb2
from tests.fuzz.embedding_stream import FORMAT, RIGHT_CHECKSUM, frame

PAYLOAD = torch.linspace(-1, 1, 16).to(torch.bfloat16).view(torch.uint8).numpy().tobytes()


def manifest(image_index: int, tile_tokens: list[int], **changes: Any) -> bytes:
    """A framed manifest."""
    fields = {
        "slot": embedding_pb2.EmbeddingSlot(request_id="r", image_index=image_index),
        "image_key": b"ab"[image_index : image_index + 1],
        "model_fingerprint": "f",
        "dtype": embedding_pb2.D_TYPE_BFLOAT16,
        "hidden_size": 2,
        "tile_tokens": tile_tokens,
        "num_bytes": sum(tile_tokens) * FORMAT.token_bytes,
    }
    return frame(encode_message(embedding_pb2.EmbeddingManifest(**(fields | changes))))


def chunk(begin: int, end: int, flags: int = 0) -> bytes:
    """A framed chunk."""
    data = PAYLOAD[begin:end]
    return frame(encode_message(PayloadChunk(begin, checksum(data), data)), flags)


def seeds() -> list[bytes]:
    """All of them."""
    whole = [chunk(0, 16), chunk(16, 32)]
    full, compressed = manifest(0, [8]), manifest(0, [2])
    return [
        b"",
        full + b"".join(whole),
        compressed + chunk(0, 8),
        manifest(1, [2, 8]) + chunk(0, 16) + chunk(16, 32) + chunk(0, 8, RIGHT_CHECKSUM),
        full + whole[1] + whole[0],
        full + whole[0] + whole[0],
        full + whole[0],
        full + b"".join(whole) + whole[1],
        full + full,
        whole[0],
        full + chunk(0, 32),
        full + frame(b"\x12\x05\x82\x01\x02ab"),
        manifest(0, [8], num_bytes=2**60) + whole[0],
        manifest(0, [8], model_fingerprint="g"),
        manifest(0, [8], dtype=7),
        manifest(0, [8] * 99),
        full + frame(b"\x12\x0b\x7a\x04\x00\x00\xc0\x7f\x08\x00\x08\x00\x08", RIGHT_CHECKSUM),
    ]


def main() -> None:
    """Write every seed under the name that libFuzzer gives it."""
    folder = Path(sys.argv[1])
    for seed in seeds():
        name = hashlib.sha1(seed, usedforsecurity=False).hexdigest()
        (folder / name).write_bytes(seed)


if __name__ == "__main__":
    main()
