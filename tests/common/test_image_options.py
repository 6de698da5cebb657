"""Options of a picture: its grid as it will stand, and a name that holds all of them."""

import pytest

from common.image_file import ImageSize
from common.image_options import ImageOptions
from common.tiling import TileGrid, TilingOptions

TILING = TilingOptions(tile_size=448, min_tiles=1, max_tiles=12, use_thumbnail=True)


def test_a_key_names_bytes_and_options() -> None:
    key = ImageOptions(TILING).key(b"bytes")
    assert len(key) == 16
    assert key == ImageOptions(TilingOptions(448, 1, 12, True)).key(b"bytes")
    others = {
        ImageOptions(TILING).key(b"other"),
        ImageOptions(TILING.at_most(6)).key(b"bytes"),
        ImageOptions(TilingOptions(448, 1, 12, False)).key(b"bytes"),
        ImageOptions(TILING, apply_orientation=True).key(b"bytes"),
    }
    assert len(others | {key}) == 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_grid_is_that_of_the_picture_as_it_will_stand(orientation: int) -> None:
    size = ImageSize(896, 448, "JPEG", orientation)
    assert ImageOptions(TILING).grid(size) == TileGrid(2, 1, has_thumbnail=True)
    upright = ImageOptions(TILING, apply_orientation=True).grid(size)
    columns = 1 if orientation >= 5 else 2
    assert upright == TileGrid(columns, 3 - columns, has_thumbnail=True)


def test_fewer_tiles_than_the_fewest_of_the_checkpoint_may_be_asked_for() -> None:
    tiling = TilingOptions(tile_size=448, min_tiles=4, max_tiles=12, use_thumbnail=True)
    size = ImageSize(2000, 1000, "PNG")
    assert ImageOptions(tiling).grid(size).num_tiles > 4
    assert ImageOptions(tiling.at_most(1)).grid(size) == TileGrid(1, 1, has_thumbnail=False)
