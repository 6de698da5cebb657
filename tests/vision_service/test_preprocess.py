"""Tiles against Pillow used directly, and every kind of bad file."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from common.config import ImageLimits
from common.errors import InvalidImageError, MismatchError
from common.image_file import turned
from common.image_options import ImageOptions
from common.model_config import ModelConfig
from tests import pictures
from vision_service.preprocess import Preprocessor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def preprocessor(config: ModelConfig) -> Preprocessor:
    return Preprocessor(config, ImageLimits())


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int, height: int, channels: int) -> np.ndarray:
    return np.random.default_rng(width * height).integers(
        0, 256, (height, width, channels), "uint8"
    )


def photo(width: int, height: int) -> Image.Image:
    return Image.fromarray(noise(width, height, 3))


def published(data: bytes, columns: int, rows: int) -> torch.Tensor:
    """Tile by tile as on the model cards: crop, ToTensor, Normalize."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    resized = image.resize((56 * columns, 56 * rows))
    tiles = []
    for index in range(columns * rows):
        left, top = index % columns * 56, index // columns * 56
        tiles.append(resized.crop((left, top, left + 56, top + 56)))
    if len(tiles) > 1:
        tiles.append(image.resize((56, 56)))
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    arrays = [torch.from_numpy(np.array(tile)).permute(2, 0, 1).contiguous() for tile in tiles]
    return torch.stack([array.to(torch.float32).div(255).sub(mean).div(std) for array in arrays])


FILES: dict[str, Callable[[], bytes]] = {
    "square": lambda: saved(photo(56, 56), "PNG"),
    "wide": lambda: saved(photo(301, 77), "PNG"),
    "tall jpeg": lambda: saved(photo(61, 450), "JPEG"),
    "grey": lambda: saved(photo(90, 120).convert("L"), "PNG"),
    "one bit": lambda: saved(photo(90, 120).convert("1"), "PNG"),
    "palette": lambda: saved(photo(120, 90).convert("P"), "PNG"),
    "palette with transparency": lambda: saved(photo(99, 98).convert("P"), "PNG", transparency=3),
    "alpha": lambda: saved(Image.fromarray(noise(130, 70, 4), "RGBA"), "PNG"),
    "grey alpha": lambda: saved(photo(80, 80).convert("LA"), "PNG"),
    "cmyk": lambda: saved(photo(200, 100).convert("CMYK"), "JPEG"),
    "webp": lambda: saved(photo(100, 100), "WEBP"),
    "bmp": lambda: saved(photo(33, 44), "BMP"),
    "one pixel": lambda: saved(photo(1, 1), "PNG"),
    "strip 1 x 900": lambda: saved(photo(1, 900), "PNG"),
    "strip 900 x 1": lambda: saved(photo(900, 1), "PNG"),
}


@pytest.mark.parametrize("kind", FILES)
def test_tiles_equal_the_published_pipeline_bit_for_bit(
    preprocessor: Preprocessor, kind: str
) -> None:
    data = FILES[kind]()
    tiled = preprocessor.tile(data)
    expected = published(data, tiled.grid.columns, tiled.grid.rows)
    assert tiled.pixels.dtype == torch.float32
    assert tiled.pixels.is_contiguous()
    assert torch.equal(tiled.pixels, expected)
    assert len(tiled.pixels) == len(tiled.twins) == tiled.grid.num_tiles


@given(width=st.integers(1, 400), height=st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_any_size_equals_the_published_pipeline(
    preprocessor: Preprocessor, width: int, height: int
) -> None:
    data = saved(photo(width, height), "PNG")
    tiled = preprocessor.tile(data)
    expected = published(data, tiled.grid.columns, tiled.grid.rows)
    assert torch.equal(tiled.pixels, expected)


def test_of_an_animation_the_first_frame_counts(preprocessor: Preprocessor) -> None:
    frames = [Image.new("RGB", (56, 56), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert torch.equal(
        preprocessor.tile(data).pixels, preprocessor.tile(pictures.blank(56, 56, "red")).pixels
    )


def test_orientation_is_not_applied(preprocessor: Preprocessor) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(photo(112, 56), "JPEG", exif=exif)
    assert preprocessor.tile(turned).grid.columns == 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_where_the_options_say_so(
    preprocessor: Preprocessor, config: ModelConfig, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = saved(photo(168, 56), "PNG", exif=exif)
    upright = saved(turned(photo(168, 56), orientation), "PNG")
    tiled = preprocessor.tile(stored, ImageOptions(config.tiling, apply_orientation=True))
    assert torch.equal(tiled.pixels, preprocessor.tile(upright).pixels)


@pytest.mark.parametrize("max_tiles", [1, 2, 5, 20])
def test_a_picture_may_ask_for_its_own_number_of_tiles(
    preprocessor: Preprocessor, config: ModelConfig, max_tiles: int
) -> None:
    data = saved(photo(560, 224), "PNG")
    tiled = preprocessor.tile(data, ImageOptions(config.tiling.at_most(max_tiles)))
    assert tiled.grid.columns * tiled.grid.rows <= max_tiles
    assert torch.equal(tiled.pixels, published(data, tiled.grid.columns, tiled.grid.rows))


def test_another_tile_count_is_found_before_anything_is_decoded(
    preprocessor: Preprocessor,
) -> None:
    data = saved(photo(112, 112), "PNG")
    with pytest.raises(MismatchError, match="the caller has 4, the vision replica 5"):
        preprocessor.tile(data[: len(data) // 2], expected_tiles=4)


def test_no_thumbnail_where_the_model_has_none(config: ModelConfig) -> None:
    tiling = replace(config.tiling, use_thumbnail=False)
    preprocessor = Preprocessor(replace(config, tiling=tiling), ImageLimits())
    assert len(preprocessor.tile(pictures.shapes(112, 56)).pixels) == 2


def test_equal_tiles_are_twins_of_the_first(preprocessor: Preprocessor) -> None:
    half_blank = preprocessor.tile(pictures.half_blank(224, 112))
    assert half_blank.grid.columns == 4
    assert half_blank.twins == (0, 1, 2, 2, 4, 5, 2, 2, 8)
    assert preprocessor.tile(pictures.blank(112, 112)).twins == (0,) * 5


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_truncated_file_is_refused(preprocessor: Preprocessor, kind: str, share: float) -> None:
    data = saved(photo(120, 120), kind)
    with pytest.raises(InvalidImageError, match=r"^The picture is damaged"):
        preprocessor.tile(data[: int(len(data) * share)])


@pytest.mark.parametrize("data", [b"", b"\x89PNG", b"GIF89a", b"<svg/>", b"\0" * 999])
def test_what_is_no_picture_is_refused(preprocessor: Preprocessor, data: bytes) -> None:
    with pytest.raises(InvalidImageError):
        preprocessor.tile(data)


@pytest.mark.parametrize(
    "limits", [ImageLimits(max_pixels=9_999), ImageLimits(max_bytes=100)], ids=["pixels", "bytes"]
)
def test_bounds_hold_before_decoding(config: ModelConfig, limits: ImageLimits) -> None:
    data = saved(photo(100, 100), "PNG")
    with pytest.raises(InvalidImageError, match="at most"):
        Preprocessor(config, limits).tile(data[: len(data) // 2])


@pytest.mark.filterwarnings("error")
def test_bombs_are_refused_by_header_and_nothing_warns(config: ModelConfig) -> None:
    bomb = saved(Image.new("1", (20_000, 10_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(InvalidImageError, match="20000 x 10000"):
        Preprocessor(config, ImageLimits()).tile(bomb)
    with pytest.raises(InvalidImageError, match="truncated"):
        Preprocessor(config, ImageLimits(max_pixels=200_000_000)).tile(bomb[:999])


SEEDS = [saved(photo(40, 40), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP")]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_files_give_a_picture_or_an_image_error(
    preprocessor: Preprocessor, data: st.DataObject
) -> None:
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, min(len(content) - 1, 400)))
        content[position] = data.draw(st.integers(0, 255))
    try:
        tiled = preprocessor.tile(bytes(content))
    except InvalidImageError:
        return
    assert torch.isfinite(tiled.pixels).all()
