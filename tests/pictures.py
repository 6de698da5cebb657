"""Test pictures, drawn the same way every time: equal arguments give equal bytes."""

import io
import random

import numpy as np
from PIL import Image, ImageDraw

TILE = 112  # side of a tile of the test checkpoints in pixels


def grid(columns: int, rows: int, seed: int = 0) -> bytes:
    """Draw shapes on a picture that a test checkpoint cuts into exactly this grid, as PNG."""
    return shapes(columns * TILE, rows * TILE, seed)


def shapes(width: int, height: int, seed: int = 0) -> bytes:
    """Draw overlapping discs, boxes and lines all over, as PNG."""
    return png(_shapes(width, height, seed))


def blank(width: int, height: int, colour: str = "skyblue") -> bytes:
    """Fill with one colour, as PNG."""
    return png(Image.new("RGB", (width, height), colour))


def half_blank(width: int, height: int, seed: int = 0) -> bytes:
    """Draw shapes on the left half and nothing on the right, as PNG."""
    picture = Image.new("RGB", (width, height), "ivory")
    picture.paste(_shapes(width // 2, height, seed), (0, 0))
    return png(picture)


def photograph(width: int, height: int, seed: int = 0) -> bytes:
    """Blend soft colour gradients with grain, as a camera gives them, as JPEG."""
    source = np.random.default_rng(seed)
    coarse = Image.fromarray(source.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = source.integers(-24, 25, soft.shape, dtype=np.int16)
    return jpeg(Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8)))


def png(picture: Image.Image) -> bytes:
    """Encode as PNG."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def jpeg(picture: Image.Image) -> bytes:
    """Encode as JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _shapes(width: int, height: int, seed: int) -> Image.Image:
    source = random.Random(f"{width}x{height} {seed}")  # noqa: S311 - drawing, not secrets
    picture = Image.new("RGB", (width, height), _colour(source))
    draw = ImageDraw.Draw(picture)
    for _ in range(6 + width * height // 600):
        x, y, size = source.randrange(width), source.randrange(height), source.randrange(4, 28)
        draw_one = source.choice((draw.ellipse, draw.rectangle, draw.line))
        draw_one((x, y, x + size, y + size), fill=_colour(source))
    return picture


def _colour(source: random.Random) -> tuple[int, int, int]:
    return (source.randrange(256), source.randrange(256), source.randrange(256))
