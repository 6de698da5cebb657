"""An explained answer: what is refused, and where which colour is."""

import io
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from common.errors import ConfigError
from deploy import explain
from deploy.ask import AskOptions, ask_and_show
from deploy.explain import COMPRESSED, FULL, MARGIN, Explained, draw_explanation
from deploy.paper import PAPER, Box, wrap
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.local_cluster import local_cluster

WHITE = (255, 255, 255)


def finished(columns: int, rows: int, compressed: str) -> inference_pb2.GenerateFinished:
    """An answer about tiles, each given as `f` (full) or `c` (compressed)."""
    mask = [letter == "c" for letter in compressed]
    before = 16 * len(mask)
    usage = inference_pb2.Usage(
        visual_tokens=before - 12 * sum(mask), visual_tokens_before_resolution=before,
        tiles=len(mask), compressed_tiles=sum(mask),
    )  # fmt: skip
    image = inference_pb2.ImageResolution(
        columns=columns, rows=rows, has_thumbnail=len(mask) > columns * rows,
        scores=[0.75 if choice else 0.25 for choice in mask], compressed=mask,
    )  # fmt: skip
    return inference_pb2.GenerateFinished(usage=usage, images=[image])


def explained(columns: int, rows: int, compressed: str, answer: str = "red") -> Explained:
    picture = Image.new("RGB", (112 * columns, 112 * rows), WHITE)
    return Explained(picture, "What colour?", answer, finished(columns, rows, compressed))


def shown_area(about: Explained, sheet: Image.Image) -> Box:
    """Where the picture is: its upper left corner is the first pixel of a frame at the margin."""
    width, height = explain.fitted(about.picture)
    top = next(y for y in range(sheet.height) if sheet.getpixel((MARGIN, y)) in (FULL, COMPRESSED))
    return Box(MARGIN, top, MARGIN + width, top + height)


@pytest.mark.parametrize("compressed", ["fcfccf", "cccccc", "ffffff"])
def test_every_tile_is_framed_in_the_colour_of_its_resolution(compressed: str) -> None:
    about = explained(3, 2, compressed + "f")
    sheet = draw_explanation(about)
    boxes = explain.tile_boxes(shown_area(about, sheet), 3, 2)
    for box, letter in zip(boxes, compressed, strict=True):
        colour = COMPRESSED if letter == "c" else FULL
        assert sheet.getpixel((box.right - 1, box.bottom - 1)) == colour
        assert sheet.getpixel((box.left, (box.top + box.bottom) // 2)) == colour


def test_a_full_tile_is_shown_clear_and_a_compressed_one_is_not() -> None:
    about = explained(2, 1, "fcf")
    sheet = draw_explanation(about)
    full, compressed = explain.tile_boxes(shown_area(about, sheet), 2, 1)
    # A point inside a cell of both lattices, 4 x 4 and 2 x 2.
    assert (
        sheet.getpixel((full.left + 5 * full.width // 8, full.bottom - full.height // 8)) == WHITE
    )
    spot = compressed.left + 5 * compressed.width // 8, compressed.bottom - compressed.height // 8
    assert sheet.getpixel(spot) not in (WHITE, COMPRESSED)


def test_the_lattice_has_one_cell_a_visual_token() -> None:
    about = explained(2, 1, "fcf")
    sheet = draw_explanation(about)
    for box, cells in zip(explain.tile_boxes(shown_area(about, sheet), 2, 1), (4, 2), strict=True):
        y = box.bottom - box.height // 8
        row = [sheet.getpixel((x, y)) for x in range(box.left + 6, box.right - 6)]
        assert sum(a != b for a, b in pairwise(row)) == 2 * (cells - 1)


def test_the_thumbnail_stands_beside_the_picture() -> None:
    about = explained(2, 1, "ffc")
    sheet = draw_explanation(about)
    area = shown_area(about, sheet)
    x = area.right + explain.GAP
    assert sheet.getpixel((x, area.top + explain.THUMBNAIL_SIDE // 2)) == COMPRESSED


def test_a_lone_tile_has_no_thumbnail() -> None:
    about = explained(1, 1, "f")
    sheet = draw_explanation(about)
    area = shown_area(about, sheet)
    # A thumbnail's frame would run down here; the legend's square ends above.
    x, below = area.right + explain.GAP, area.top + 2 * explain.TEXT
    assert sheet.getpixel((x, area.top)) == FULL
    assert sheet.getpixel((x, below)) == PAPER


def test_the_bars_show_what_is_left() -> None:
    about = explained(2, 2, "ccccf")
    sheet = draw_explanation(about)
    left = shown_area(about, sheet).right + explain.GAP
    rows = [
        [sheet.getpixel((x, y)) for x in range(left, left + explain.COLUMN_WIDTH)]
        for y in range(sheet.height)
    ]
    bar = next(row for row in reversed(rows) if row[0] == FULL)
    assert (bar.count(FULL), bar.count(COMPRESSED)) == (300 * 16 // 80, 300 * 16 // 80)
    assert bar[-1] == PAPER


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (12, 1), (1, 12), (3, 4)])
def test_pictures_of_every_shape_fit(columns: int, rows: int) -> None:
    about = explained(columns, rows, "c" * (columns * rows) + "f" * (columns * rows > 1))
    sheet = draw_explanation(about)
    area = shown_area(about, sheet)
    assert max(area.width / explain.PICTURE_WIDTH, area.height / explain.PICTURE_HEIGHT) == 1
    assert sheet.height >= area.bottom + MARGIN
    assert sheet.width >= area.right + explain.COLUMN_WIDTH + MARGIN


@pytest.mark.parametrize(
    "answer", ["", "word " * 500, "x" * 3000, "价格是十二欧元。" * 90, "a\n\nb"]
)
def test_answers_of_every_length_stay_on_the_sheet(answer: str) -> None:
    sheet = draw_explanation(explained(2, 1, "ffc", answer))
    assert sheet.height < 1300
    edge = sheet.crop((sheet.width - 4, 0, sheet.width, sheet.height))
    assert edge.getcolors() == [(4 * sheet.height, PAPER)]


def test_lines_break_between_words_and_end_in_dots() -> None:
    lines = wrap("one two three four", 20, 90, max_lines=9)
    assert " ".join(lines) == "one two three four"
    assert len(lines) > 1
    assert wrap("one two three four", 20, 90, max_lines=1) == [lines[0] + " ..."]


@pytest.mark.parametrize(
    ("num_pictures", "name", "reason"),
    [
        (0, "out.png", "exactly one picture; 0 are given"),
        (2, "out.png", "exactly one picture; 2 are given"),
        (1, "out.gif", "does not end in .png"),
        (1, "missing/out.png", "no such folder"),
    ],
)
async def test_what_cannot_be_explained_is_refused_before_it_is_asked(
    tmp_path: Path, num_pictures: int, name: str, reason: str
) -> None:
    (tmp_path / "a.png").write_bytes(pictures.grid(1, 1))
    words = [str(tmp_path / "a.png")] * num_pictures + ["What?"]
    options = AskOptions("127.0.0.1:1", explain=tmp_path / name)
    with pytest.raises(ConfigError, match=reason):
        await ask_and_show(Console(file=io.StringIO()), words, options)


def test_a_file_that_is_no_picture_or_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match="damaged"):
        explain.open_picture(tmp_path / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match="cannot write"):
        explain.write_explanation(explained(1, 1, "f"), tmp_path / "folder.png")


async def test_a_cluster_s_answer_is_explained(flash_model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(pictures.half_blank(336, 224))
    output = io.StringIO()
    async with local_cluster(flash_model_dir) as cluster:
        options = AskOptions(cluster.address, max_tokens=4, explain=tmp_path / "out.png")
        await ask_and_show(Console(file=output, width=200), [str(tmp_path / "a.png"), "?"], options)
    assert "explained in" in output.getvalue()
    with Image.open(tmp_path / "out.png") as sheet:
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 24)}
    assert {FULL, COMPRESSED} <= colours
