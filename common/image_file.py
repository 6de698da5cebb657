"""Look at a picture file's header: its kind, its size, and whether it keeps the bounds.

The router does this at the door and the vision service before it decodes, with the same code.
Nothing is decompressed here. Clients see fixed sentences, never the decoder's own words.
"""

import hashlib
import io
import struct
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from common.config import ImageLimits
from common.errors import InvalidImageError
from common.tiling import TilingOptions

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


@dataclass(frozen=True, slots=True)
class ImageSize:
    """What a header says.

    Attributes:
        width: Pixels.
        height: Pixels.
        format: Pillow's name of the file format.
    """

    width: int
    height: int
    format: str


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
            size = ImageSize(image.width, image.height, file_format)
    except DECODER_ERRORS as cause:
        raise InvalidImageError(
            f"The picture is damaged or of an unsupported format; supported are {_formats()}."
        ) from cause
    if mime_type and mime_type != MIME_TYPES[size.format]:
        raise InvalidImageError(
            f"The picture is {MIME_TYPES[size.format]}, which is not the declared type."
        )
    if size.width * size.height > limits.max_pixels:
        raise InvalidImageError(
            f"The picture has {size.width} x {size.height} pixels; "
            f"at most {limits.max_pixels} in all are accepted."
        )
    return size


def image_key(data: bytes, options: TilingOptions) -> bytes:
    """Name a picture by its bytes and processing options.

    Returns:
        16 bytes: equal pictures under equal options have equal keys.
    """
    digest = hashlib.blake2b(repr(options).encode(), digest_size=16)
    digest.update(data)
    return digest.digest()


def _formats() -> str:
    return ", ".join(sorted(MIME_TYPES))
