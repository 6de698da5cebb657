"""Options of a picture: the request's within the operator's, else the checkpoint's."""

from typing import Any

import pytest

from common.config import RouterConfig
from common.errors import InvalidRequestError
from common.tiling import TilingOptions
from protos.dvd.v1 import inference_pb2
from router.image_options import ImageOptionsReader

CHECKPOINT = TilingOptions(tile_size=448, min_tiles=1, max_tiles=12, use_thumbnail=True)
LOW, HIGH = inference_pb2.IMAGE_DETAIL_LOW, inference_pb2.IMAGE_DETAIL_HIGH


def max_tiles(max_tiles_per_image: int | None = None, **picture: Any) -> int:
    reader = ImageOptionsReader(RouterConfig(max_tiles_per_image=max_tiles_per_image), CHECKPOINT)
    return reader.read(inference_pb2.Image(**picture), "here").tiling.max_tiles


def refusal(**picture: Any) -> tuple[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        max_tiles(**picture)
    return caught.value.field, caught.value.message


@pytest.mark.parametrize(
    ("operator", "picture", "expected"),
    [
        (None, {}, 12),
        (6, {}, 6),
        (24, {}, 12),
        (None, {"max_tiles": 1}, 1),
        (None, {"max_tiles": 12}, 12),
        (24, {"max_tiles": 24}, 24),
        (24, {"detail": HIGH}, 24),
        (None, {"detail": HIGH}, 12),
        (24, {"detail": LOW}, 1),
    ],
)
def test_the_most_tiles_of_a_picture(
    operator: int | None, picture: dict[str, Any], expected: int
) -> None:
    assert max_tiles(operator, **picture) == expected


@pytest.mark.parametrize("asked", [0, 13, 2**32 - 1])
def test_tiles_out_of_bounds_are_refused(asked: int) -> None:
    assert refusal(max_tiles=asked) == ("here.max_tiles", "max_tiles must be from 1 to 12.")


def test_number_and_word_exclude_each_other() -> None:
    assert refusal(max_tiles=3, detail=LOW) == (
        "here.detail", "A picture has max_tiles or detail, not both.",
    )  # fmt: skip


def test_an_unknown_word_is_refused() -> None:
    assert refusal(detail=9) == ("here.detail", "Unknown detail.")


@pytest.mark.parametrize("apply_orientation", [True, False])
def test_orientation_is_the_operators_choice(apply_orientation: bool) -> None:
    config = RouterConfig(apply_orientation=apply_orientation)
    options = ImageOptionsReader(config, CHECKPOINT).read(inference_pb2.Image(), "here")
    assert options.apply_orientation == apply_orientation
    assert options.tiling == CHECKPOINT
