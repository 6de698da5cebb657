"""A picture file: what its header says, whether it keeps the bounds, and its pixels.

The router looks at the header at the door and the vision service before it decodes, with the same
code; only `open_rgb` decompresses. Clients see fixed sentences, never the decoder's own words.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.config import ImageLimits
from common.errors import InvalidImageError

MIME_TYPES = {
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
}

# What Pillow's decoders raise on damaged files.
DECODER_ERRORS = (
    UnidentifiedImageError,
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    struct.error,
)

# Pillow would warn at some sizes and raise at others; the bounds below are the only ones.
Image.MAX_IMAGE_PIXELS = None


ORIENTATION_TAG = 0x0112
# How the stored picture is turned to stand upright, by EXIF orientation; the others need nothing.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class ImageSize:
    """What a header says.

    Attributes:
        width: Pixels, as stored.
        height: Pixels, as stored.
        format: Pillow's name of the file format.
        orientation: EXIF's, 1 to 8; 1 where there is none.
    """

    width: int
    height: int
    format: str
    orientation: int = 1


def inspect_image(data: bytes, mime_type: str, limits: ImageLimits) -> ImageSize:
    """Read a picture's header and check it against the bounds.

    Args:
        data: The file's bytes.
        mime_type: Declared type; empty for undeclared.
        limits: Bounds to keep.

    Raises:
        InvalidImageError: Empty, too large, of an unsupported or another format, or unreadable.
    """
    if not data:
        raise InvalidImageError("The picture is empty.")
    if len(data) > limits.max_bytes:
        raise InvalidImageError(
            f"The picture has {len(data)} bytes; at most {limits.max_bytes} are accepted."
        )
    try:
        with Image.open(io.BytesIO(data), formats=tuple(MIME_TYPES)) as image:
            # Cameras write JPEG files of several pictures; the first one counts.
            file_format = "JPEG" if image.format == "MPO" else image.format or ""
            orientation = _orientation(image.info.get("exif", b""))
            size = ImageSize(image.width, image.height, file_format, orientation)
    except DECODER_ERRORS as cause:
        raise InvalidImageError(
            f"The picture is damaged or of an unsupported format; supported are {_formats()}."
        ) from cause
    if mime_type and mime_type != MIME_TYPES[size.format]:
        raise InvalidImageError(
            f"The picture is {MIME_TYPES[size.format]}, which is not the declared type."
        )
    _check_size(size, limits)
    return size


def open_rgb(data: bytes, formats: tuple[str, ...] = tuple(MIME_TYPES)) -> Image.Image:
    """Decode the first frame, turned as it is stored; bounds are the caller's to check.

    Grey pictures of 16 bits lose their low byte, as coloured ones do in the decoder; Pillow's own
    conversion would clip them to white.

    Raises:
        InvalidImageError: It is damaged or truncated.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            if image.mode.startswith("I;16"):
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            return image.convert("RGB")
    except DECODER_ERRORS as cause:
        raise InvalidImageError("The picture is damaged or truncated.") from cause


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a stored picture upright."""
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _check_size(size: ImageSize, limits: ImageLimits) -> None:
    longer, shorter = max(size.width, size.height), min(size.width, size.height)
    what = f"The picture has {size.width} x {size.height} pixels;"
    if size.width * size.height > limits.max_pixels:
        raise InvalidImageError(f"{what} at most {limits.max_pixels} in all are accepted.")
    if longer > limits.max_side:
        raise InvalidImageError(f"{what} at most {limits.max_side} on a side are accepted.")
    if longer > limits.max_aspect * shorter:
        raise InvalidImageError(
            f"{what} a side may be at most {limits.max_aspect:g} times the other."
        )


def _orientation(exif: bytes) -> int:
    """Read the orientation; damaged or absurd data counts as none, as in browsers."""
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        orientation = tags.get(ORIENTATION_TAG)
    except DECODER_ERRORS:
        return 1
    return orientation if orientation in TURNS else 1


def _formats() -> str:
    return ", ".join(sorted(MIME_TYPES))
