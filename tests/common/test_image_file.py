"""Picture headers: what is accepted, what is refused, and in whose words."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from common.config import ImageLimits
from common.errors import InvalidImageError
from common.image_file import MIME_TYPES, ImageSize, inspect_image, open_rgb, turned

LIMITS = ImageLimits(max_bytes=100_000, max_pixels=10_000)
UNREADABLE = (
    "The picture is damaged or of an unsupported format; supported are BMP, GIF, JPEG, PNG, WEBP."
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADS = [b"", PNG_SIGNATURE, b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF\x08\0\0\0WEBP"]
CHUNK_TYPES = [
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"tEXt",
    b"zTXt", b"iTXt", b"pHYs", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"xxxx",
]  # fmt: skip


def picture(file_format: str, width: int = 30, height: int = 20, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (width, height)).save(stream, file_format)
    return stream.getvalue()


def two_pictures_in_one_jpeg() -> bytes:
    stream = io.BytesIO()
    first, second = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (30, 20), "blue")
    first.save(stream, "MPO", save_all=True, append_images=[second])
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG of some forty bytes that promises so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def refusal(data: bytes, mime_type: str = "", limits: ImageLimits = LIMITS) -> str:
    with pytest.raises(InvalidImageError) as caught:
        inspect_image(data, mime_type, limits)
    assert type(caught.value) is InvalidImageError
    return caught.value.message


def is_read_or_refused(data: bytes) -> bool:
    """Whether a size within bounds or a sentence of ours comes of it."""
    try:
        size = inspect_image(data, "", LIMITS)
    except InvalidImageError as error:
        return error.message.startswith("The picture ")
    return 1 <= size.width * size.height <= LIMITS.max_pixels


def fuzz(test: Callable[..., None]) -> Callable[..., None]:
    """Give hypothesis its time, and Pillow its warnings."""
    return pytest.mark.filterwarnings("ignore::UserWarning:PIL")(settings(deadline=None)(test))


@pytest.mark.parametrize(("file_format", "mime_type"), MIME_TYPES.items())
@pytest.mark.parametrize("is_declared", [True, False])
def test_every_format_is_read(file_format: str, mime_type: str, is_declared: bool) -> None:
    size = inspect_image(picture(file_format), mime_type if is_declared else "", LIMITS)
    assert size == ImageSize(30, 20, file_format)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_colour_mode_is_read(mode: str) -> None:
    assert inspect_image(picture("PNG", mode=mode), "", LIMITS).format == "PNG"


@pytest.mark.parametrize("mime_type", ["", "image/jpeg"])
def test_a_camera_file_of_several_pictures_is_a_jpeg(mime_type: str) -> None:
    assert inspect_image(two_pictures_in_one_jpeg(), mime_type, LIMITS) == ImageSize(30, 20, "JPEG")


@pytest.mark.parametrize("declared", ["image/jpeg", "image/PNG", "text/html", "png"])
def test_another_declared_type_is_refused(declared: str) -> None:
    assert refusal(picture("PNG"), declared) == (
        "The picture is image/png, which is not the declared type."
    )


@pytest.mark.parametrize("file_format", ["TIFF", "ICO", "PPM", "TGA", "PCX"])
def test_other_formats_are_refused(file_format: str) -> None:
    assert refusal(picture(file_format)) == UNREADABLE


@pytest.mark.parametrize(
    "data",
    [
        b"not a picture",
        b"\x00" * 100,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
        PNG_SIGNATURE,
    ],
)
def test_what_is_no_picture_is_refused_without_library_text(data: bytes) -> None:
    assert refusal(data) == UNREADABLE


@pytest.mark.parametrize("file_format", MIME_TYPES)
def test_a_truncated_header_is_refused(file_format: str) -> None:
    data = picture(file_format)
    for length in range(1, 12):
        assert refusal(data[:length]) == UNREADABLE


def test_an_empty_file_is_refused() -> None:
    assert refusal(b"") == "The picture is empty."


def test_bytes_are_bounded_exactly() -> None:
    data = picture("PNG")
    inspect_image(data, "", ImageLimits(max_bytes=len(data)))
    assert refusal(data, limits=ImageLimits(max_bytes=len(data) - 1)) == (
        f"The picture has {len(data)} bytes; at most {len(data) - 1} are accepted."
    )


def test_pixels_are_bounded_exactly() -> None:
    inspect_image(picture("PNG", 100, 100), "", LIMITS)
    assert refusal(picture("PNG", 73, 137)) == (
        "The picture has 73 x 137 pixels; at most 10000 in all are accepted."
    )


@pytest.mark.parametrize("side", [14_000, 2**31 - 1])
def test_a_header_that_promises_too_much_is_refused_unread(side: int) -> None:
    bomb = png_header(side, side)
    assert len(bomb) < 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f"{side} x {side} pixels" in refusal(bomb, limits=ImageLimits())


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (0, 0)])
def test_a_picture_without_pixels_is_refused(width: int, height: int) -> None:
    assert refusal(png_header(width, height)) == UNREADABLE


@fuzz
@given(
    file_format=st.sampled_from(sorted(MIME_TYPES)),
    changes=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=8),
    length=st.integers(1, 200),
)
def test_a_damaged_file_is_read_or_refused(
    file_format: str, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(picture(file_format))
    for position, value in changes:
        data[position % len(data)] = value
    assert is_read_or_refused(bytes(data[:length]))


@fuzz
@given(head=st.sampled_from(HEADS), data=st.binary(min_size=1, max_size=60))
def test_any_bytes_are_read_or_refused(head: bytes, data: bytes) -> None:
    assert is_read_or_refused(head + data)


@fuzz
@given(chunks=st.lists(st.tuples(st.sampled_from(CHUNK_TYPES), st.binary(max_size=24)), max_size=6))
@example(chunks=[(b"IHDR", b"")])
@example(chunks=[(b"sRGB", b"")])
@example(chunks=[(b"pHYs", b"\0")])
@example(chunks=[(b"acTL", b"\0")])
@example(chunks=[(b"zTXt", b"a\0\0\0")])
@example(chunks=[(b"iTXt", b"a\0\1\0\0\0\0")])
def test_any_png_chunks_are_read_or_refused(chunks: list[tuple[bytes, bytes]]) -> None:
    header = png_header(3, 2)[:33]
    assert is_read_or_refused(header + b"".join(chunk(kind, body) for kind, body in chunks))


@pytest.mark.parametrize(
    ("width", "height", "sentence"),
    [
        (101, 20, "101 x 20 pixels; at most 100 on a side are accepted."),
        (20, 101, "20 x 101 pixels; at most 100 on a side are accepted."),
        (100, 19, "100 x 19 pixels; a side may be at most 5 times the other."),
        (19, 100, "19 x 100 pixels; a side may be at most 5 times the other."),
    ],
)
def test_sides_and_aspect_are_bounded(width: int, height: int, sentence: str) -> None:
    limits = ImageLimits(max_side=100, max_aspect=5)
    assert inspect_image(picture("PNG", 100, 20), "", limits).width == 100
    assert refusal(png_header(width, height), limits=limits) == f"The picture has {sentence}"


def test_a_thin_strip_is_refused_before_resizing_takes_memory_for_its_length() -> None:
    assert "on a side" in refusal(png_header(1, 40_000_000), limits=ImageLimits())


def oriented(file_format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.new("RGB", (30, 20)).save(stream, file_format, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("written", "read"), [(1, 1), (6, 6), (8, 8), (0, 1), (9, 1)])
def test_orientation_is_read_from_the_header(file_format: str, written: int, read: int) -> None:
    size = inspect_image(oriented(file_format, written), "", LIMITS)
    assert size == ImageSize(30, 20, file_format, read)


@pytest.mark.parametrize("exif", [b"x", b"Exif\0\0", b"Exif\0\0II*\0", b"\0" * 99])
def test_damaged_exif_counts_as_none(exif: bytes) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20)).save(stream, "JPEG", exif=exif)
    assert inspect_image(stream.getvalue(), "", LIMITS).orientation == 1


@pytest.mark.parametrize(
    ("orientation", "corners"),
    [(1, "abcd"), (2, "badc"), (3, "dcba"), (4, "cdab"), (5, "acbd"), (6, "cadb"), (7, "dbca"),
     (8, "bdac")],
)  # fmt: skip
def test_a_picture_is_turned_upright(orientation: int, corners: str) -> None:
    stored = Image.new("L", (2, 2))
    stored.putdata([*b"abcd"])
    assert bytes(turned(stored, orientation).tobytes()).decode() == corners


def test_grey_of_sixteen_bits_keeps_its_range() -> None:
    stream = io.BytesIO()
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(stream, "PNG")
    pixels = np.asarray(open_rgb(stream.getvalue()))
    assert pixels.shape == (16, 16, 3)
    assert (pixels.reshape(256, 3) == np.arange(256)[:, None]).all()


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_colour_and_alpha_of_sixteen_bits_keep_their_high_byte(
    colour_type: int, channels: int
) -> None:
    samples = np.arange(4 * channels, dtype=np.uint16).reshape(4, channels) * 4000
    rows = b"".join(b"\0" + samples[i : i + 2].astype(">u2").tobytes() for i in (0, 2))
    header = struct.pack(">IIBBBBB", 2, 2, 16, colour_type, 0, 0, 0)
    data = (
        PNG_SIGNATURE
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    colours = samples[:, :3] if channels > 2 else samples[:, [0, 0, 0]]
    assert (np.asarray(open_rgb(data)).reshape(4, 3) == colours >> 8).all()


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_decoded(file_format: str) -> None:
    stream = io.BytesIO()
    first, *others = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime"))
    first.save(stream, file_format, save_all=True, append_images=others)
    red, _, blue = open_rgb(stream.getvalue()).getpixel((4, 4))
    assert (red > 250, blue < 5) == (True, True)
