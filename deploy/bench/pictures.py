"""Where the pictures of a load come from: drawn from a seed, or files of a folder.

Drawn ones have content, so that they cost a decoder and a resolution gate what a picture costs:
soft colours and grain as a camera gives them, with shapes and letters on top.
"""

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.config import ImageLimits
from common.errors import ConfigError
from common.image_file import MIME_TYPES, inspect_image
from deploy.bench.options import PictureFormat
from deploy.bench.resolutions import Resolution

JPEG_QUALITY = 90
GRAIN = 12
PIXELS_A_SHAPE = 12_000
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file.

    Attributes:
        data: Its bytes.
        mime_type: Its type.
    """

    data: bytes
    mime_type: str


class Gallery(Protocol):
    """Something that hands out pictures."""

    def next_picture(self) -> Picture:
        """Hand out one that was not handed out before, as long as there are any."""


class DrawnGallery:
    """Draws a new picture each time; equal seeds draw equal ones.

    Args:
        resolutions: Sizes to choose from, with weights.
        picture_format: Of the files.
        seed: Of sizes and contents.
    """

    def __init__(
        self, resolutions: tuple[Resolution, ...], picture_format: PictureFormat, seed: int
    ) -> None:
        self._resolutions = resolutions
        self._format = picture_format
        self._seed = seed
        self._num_drawn = 0

    def next_picture(self) -> Picture:
        """Draw one."""
        source = random.Random(f"{self._seed}/{self._num_drawn}")
        self._num_drawn += 1
        weights = [resolution.weight for resolution in self._resolutions]
        (chosen,) = source.choices(self._resolutions, weights)
        picture = draw_picture(chosen.width, chosen.height, source.getrandbits(63))
        file = io.BytesIO()
        picture.save(file, self._format.upper(), quality=JPEG_QUALITY)
        return Picture(file.getvalue(), MIME_TYPES[self._format.upper()])


class FileGallery:
    """Hands out the pictures of a folder in an order that follows from the seed, over and over.

    Args:
        folder: Searched with all folders in it.
        seed: Of the order.

    Raises:
        ConfigError: It is no folder or holds no picture.
        InvalidImageError: One of them cannot be read.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        files = sorted(
            file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file()
        )
        if not files:
            raise ConfigError(f"--image-dir: there is no picture in {folder}.")
        random.Random(seed).shuffle(files)
        self._pictures = [_read(file) for file in files]
        self._num_handed_out = 0

    def next_picture(self) -> Picture:
        """Hand out the next one, from the first again after the last."""
        self._num_handed_out += 1
        return self._pictures[(self._num_handed_out - 1) % len(self._pictures)]


def draw_picture(width: int, height: int, seed: int) -> Image.Image:
    """Draw one of this size in pixels."""
    source = np.random.default_rng(seed)
    coarse = Image.fromarray(source.integers(40, 216, (5, 5, 3), dtype=np.uint8))
    picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
    _draw_things(picture, random.Random(seed))
    grain = source.integers(-GRAIN, GRAIN + 1, (height, width, 1), dtype=np.int16)
    grained = np.asarray(picture, dtype=np.int16) + grain
    return Image.fromarray(grained.clip(0, 255).astype(np.uint8))


def _draw_things(picture: Image.Image, source: random.Random) -> None:
    """Put shapes and numbers of many sizes on a picture."""
    draw = ImageDraw.Draw(picture)
    longest = max(8, min(picture.size) // 4)
    for _ in range(4 + picture.width * picture.height // PIXELS_A_SHAPE):
        x, y = source.randrange(picture.width), source.randrange(picture.height)
        size = source.randint(4, longest)
        colour = (source.randrange(256), source.randrange(256), source.randrange(256))
        box = (x, y, x + size, y + size)
        match source.randrange(3):
            case 0:
                draw.ellipse(box, colour)
            case 1:
                draw.rectangle(box, colour)
            case _:
                font = ImageFont.load_default(max(8, size // 2))
                draw.text((x, y), str(source.randrange(10_000)), colour, font)


def _read(file: Path) -> Picture:
    data = file.read_bytes()
    # The type is what the bytes are, whatever the name says; the door refuses a wrong one.
    picture_format = inspect_image(data, "", ImageLimits()).format
    return Picture(data, MIME_TYPES[picture_format])
