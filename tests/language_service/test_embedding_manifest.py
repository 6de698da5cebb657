"""What a language replica accepts of a sender, checked before memory is taken."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from common.errors import EmbeddingRejectedError, MismatchError
from language_service.embedding_manifest import EmbeddingFormat, Manifest, manifest_of
from protos.dvd.v1 import embedding_pb2

FORMAT = EmbeddingFormat(
    model_fingerprint="ours",
    dtype=torch.bfloat16,
    hidden_size=8,
    full_tokens=16,
    compressed_tokens=4,
)
PLAIN = replace(FORMAT, compressed_tokens=16)
MANIFEST = Manifest(
    request_id="r1",
    image_index=0,
    attempt=0,
    repeat=0,
    image_key=b"key",
    model_fingerprint="ours",
    dtype=torch.bfloat16,
    hidden_size=8,
    tile_tokens=(16, 4),
    num_bytes=20 * 16,
)


def test_a_token_has_its_elements_bytes() -> None:
    assert FORMAT.token_bytes == 16
    assert replace(FORMAT, dtype=torch.float32).token_bytes == 32


def test_room_is_counted_at_full_resolution() -> None:
    assert FORMAT.max_bytes(3) == 3 * 16 * 16
    assert FORMAT.max_bytes(0) == 0


@pytest.mark.parametrize("tile_tokens", [(16, 16), (16, 4), (4, 4)])
def test_a_manifest_that_fits_is_accepted(tile_tokens: tuple[int, ...]) -> None:
    num_bytes = sum(tile_tokens) * 16
    FORMAT.check(replace(MANIFEST, tile_tokens=tile_tokens, num_bytes=num_bytes), num_tiles=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model_fingerprint": "theirs"},
            "Model fingerprint differs: the sender has theirs, the receiver ours.",
        ),
        (
            {"dtype": torch.float32},
            "Element type differs: the sender has torch.float32, the receiver torch.bfloat16.",
        ),
        ({"hidden_size": 9}, "Hidden size differs: the sender has 9, the receiver 8."),
    ],
)
def test_another_model_is_a_mismatch_that_names_both_sides(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(MismatchError) as caught:
        FORMAT.check(replace(MANIFEST, **change), num_tiles=2)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile_tokens": (16,)}, "The manifest has 1 tiles, the request 2."),
        ({"tile_tokens": ()}, "The manifest has 0 tiles, the request 2."),
        ({"tile_tokens": (16, 16, 16)}, "The manifest has 3 tiles, the request 2."),
        ({"tile_tokens": (16, 5)}, "A tile has 5 visual tokens; possible are [4, 16]."),
        ({"tile_tokens": (0, 16)}, "A tile has 0 visual tokens; possible are [4, 16]."),
        ({"num_bytes": 319}, "The manifest has 319 bytes; its tiles need 320."),
        ({"num_bytes": 2**60}, f"The manifest has {2**60} bytes; its tiles need 320."),
        ({"num_bytes": 0}, "The manifest has 0 bytes; its tiles need 320."),
    ],
)
def test_counts_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EmbeddingRejectedError) as caught:
        FORMAT.check(replace(MANIFEST, **change), num_tiles=2)
    assert caught.value.message == message


def test_without_a_gate_only_full_tiles_are_possible() -> None:
    with pytest.raises(EmbeddingRejectedError, match=r"possible are \[16\]"):
        PLAIN.check(MANIFEST, num_tiles=2)


def test_the_wire_message_is_read_whole() -> None:
    wire = embedding_pb2.EmbeddingManifest(
        slot=embedding_pb2.EmbeddingSlot(request_id="r1", image_index=2, attempt=1, repeat=3),
        image_key=b"key",
        model_fingerprint="ours",
        dtype=embedding_pb2.D_TYPE_FLOAT32,
        hidden_size=8,
        tile_tokens=[16, 4],
        num_bytes=640,
    )
    expected = replace(
        MANIFEST, image_index=2, attempt=1, repeat=3, dtype=torch.float32, num_bytes=640
    )
    assert manifest_of(wire) == expected


@pytest.mark.parametrize("dtype", [embedding_pb2.D_TYPE_UNSPECIFIED, 7])
def test_an_element_type_that_is_not_known_is_refused(dtype: Any) -> None:
    with pytest.raises(EmbeddingRejectedError, match=f"Element type {int(dtype)} is not supported"):
        manifest_of(embedding_pb2.EmbeddingManifest(dtype=dtype))
