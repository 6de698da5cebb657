"""Pictures of a load."""

import io
from pathlib import Path

import pytest
from PIL import Image

from common.config import ImageLimits
from common.errors import ConfigError, InvalidImageError
from common.image_file import inspect_image
from deploy.bench.options import PictureFormat
from deploy.bench.pictures import DrawnGallery, FileGallery
from deploy.bench.resolutions import Resolution, parse_resolutions
from tests import pictures


@pytest.mark.parametrize("picture_format", ["jpeg", "png"])
def test_a_drawn_picture_has_the_size_and_type_that_was_asked_for(
    picture_format: PictureFormat,
) -> None:
    gallery = DrawnGallery((Resolution(130, 70),), picture_format, seed=1)
    picture = gallery.next_picture()
    size = inspect_image(picture.data, picture.mime_type, ImageLimits())
    assert (size.width, size.height, size.format) == (130, 70, picture_format.upper())


def test_drawn_pictures_differ_and_a_seed_repeats_them() -> None:
    def five(seed: int) -> list[bytes]:
        gallery = DrawnGallery((Resolution(64, 64),), "jpeg", seed)
        return [gallery.next_picture().data for _ in range(5)]

    assert len(set(five(1))) == 5
    assert five(1) == five(1)
    assert not set(five(1)) & set(five(2))


def test_a_drawn_picture_has_content() -> None:
    """A file of one colour would cost a decoder nothing and have the gate compress everything."""
    gallery = DrawnGallery((Resolution(224, 224),), "png", seed=3)
    image = Image.open(io.BytesIO(gallery.next_picture().data))
    for left, top in ((0, 0), (112, 0), (0, 112), (112, 112)):
        tile = image.crop((left, top, left + 112, top + 112))
        assert len(set(tile.get_flattened_data())) > 1000


def test_sizes_come_by_their_weights() -> None:
    gallery = DrawnGallery(parse_resolutions("16x16:3,32x8:1,9x9:0"), "png", seed=1)
    sizes = [Image.open(io.BytesIO(gallery.next_picture().data)).size for _ in range(200)]
    assert set(sizes) == {(16, 16), (32, 8)}
    assert 120 < sizes.count((16, 16)) < 180


def test_resolutions_are_read() -> None:
    assert parse_resolutions("448x448") == (Resolution(448, 448),)
    assert parse_resolutions("448x448:3, 896x672:0.5") == (
        Resolution(448, 448, 3.0),
        Resolution(896, 672, 0.5),
    )


@pytest.mark.parametrize("text", ["", "448", "448x", "0x5", "4x4:", "4x4,", "a4x4", "4x4:-1"])
def test_a_resolution_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="--image-resolution takes 448x448"):
        parse_resolutions(text)


def test_some_size_must_have_a_weight() -> None:
    with pytest.raises(ConfigError, match="needs a weight above 0"):
        parse_resolutions("4x4:0")


def test_a_folder_is_gone_through_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "a.png").write_bytes(pictures.blank(9, 9))
    (tmp_path / "in" / "b.JPG").write_bytes(pictures.photograph(9, 9))
    (tmp_path / "notes.txt").write_text("no picture")
    gallery = FileGallery(tmp_path, seed=1)
    types = [gallery.next_picture().mime_type for _ in range(4)]
    assert sorted(types[:2]) == ["image/jpeg", "image/png"]
    assert types[2:] == types[:2]


def test_the_type_is_what_the_bytes_are(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(pictures.blank(9, 9))
    assert FileGallery(tmp_path, seed=1).next_picture().mime_type == "image/png"


def test_a_folder_without_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no picture in"):
        FileGallery(tmp_path, seed=1)


def test_a_file_that_is_no_picture_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InvalidImageError):
        FileGallery(tmp_path, seed=1)
