"""`dvd ask --explain`: the picture as the model saw it, drawn into a file.

Every tile carries the gate's score and a lattice of its visual tokens, one cell each: fine and
blue at full resolution, coarse and orange where it was compressed. Nothing is computed here that
the answer does not say.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from common.errors import ConfigError, InvalidImageError
from common.image_file import open_rgb, turned
from deploy.paper import GREY, INK, Box, Colour, Paper, line_height, wrap
from protos.dvd.v1 import inference_pb2

FULL: Colour = (28, 98, 208)
COMPRESSED: Colour = (224, 112, 8)
MARGIN = 40
GAP = 36
PICTURE_WIDTH, PICTURE_HEIGHT = 840, 640
PANEL_WIDTH = 360  # at least, so that a tall picture leaves room for the texts
COLUMN_WIDTH = 300
THUMBNAIL_SIDE = 220
BAR_HEIGHT = 22
CAPTION, TEXT, HEADLINE = 15, 18, 26
MAX_LINES = 6
WASH, FINE, COARSE = 40, 60, 150  # opacity of 255


@dataclass(frozen=True, slots=True)
class Explained:
    """One question about one picture, answered.

    Attributes:
        picture: The picture.
        question: What was asked.
        answer: All of it.
        finished: What the router says about the answer.
    """

    picture: Image.Image
    question: str
    answer: str
    finished: inference_pb2.GenerateFinished

    @property
    def resolution(self) -> inference_pb2.ImageResolution:
        """How the picture was cut and compressed."""
        return self.finished.images[0]

    @property
    def full_tokens(self) -> int:
        """Visual tokens of a tile at full resolution."""
        usage = self.finished.usage
        return usage.visual_tokens_before_resolution // usage.tiles

    @property
    def compressed_tokens(self) -> int:
        """Visual tokens of a compressed tile; 0 without one."""
        usage = self.finished.usage
        saved = usage.visual_tokens_before_resolution - usage.visual_tokens
        if not usage.compressed_tiles:
            return 0
        return self.full_tokens - saved // usage.compressed_tiles


def check_explainable(num_pictures: int, file: Path) -> None:
    """Refuse, before anything is asked, what could not be drawn or written afterwards.

    Raises:
        ConfigError: Not one picture, no PNG file, or no such folder.
    """
    if num_pictures != 1:
        raise ConfigError(f"--explain draws exactly one picture; {num_pictures} are given.")
    if file.suffix.lower() != ".png":
        raise ConfigError(f"--explain writes PNG; {file} does not end in .png.")
    if not file.parent.is_dir():
        raise ConfigError(f"--explain cannot write {file}: there is no such folder.")


def open_picture(file: Path, orientation: int = 1) -> Image.Image:
    """Read a picture as the vision service does: the first frame, turned as the answer says.

    Raises:
        ConfigError: It cannot be decoded.
    """
    try:
        return turned(open_rgb(file.read_bytes()), orientation)
    except InvalidImageError as error:
        raise ConfigError(f"{file} cannot be drawn: {error.message}") from error


def write_explanation(explained: Explained, file: Path) -> None:
    """Draw the sheet into a PNG file.

    Raises:
        ConfigError: The file cannot be written.
    """
    try:
        draw_explanation(explained).save(file, "PNG")
    except OSError as cause:
        raise ConfigError(f"--explain cannot write {file}.") from cause


def fitted(picture: Image.Image) -> tuple[int, int]:
    """Size at which a picture is shown."""
    scale = min(PICTURE_WIDTH / picture.width, PICTURE_HEIGHT / picture.height)
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def tile_boxes(area: Box, columns: int, rows: int) -> list[Box]:
    """Where each tile of a grid is in the shown picture, row by row."""
    across = [area.left + area.width * column // columns for column in range(columns + 1)]
    down = [area.top + area.height * row // rows for row in range(rows + 1)]
    return [
        Box(across[column], down[row], across[column + 1], down[row + 1])
        for row in range(rows)
        for column in range(columns)
    ]


def draw_explanation(explained: Explained) -> Image.Image:
    """Draw the whole sheet."""
    return _Sheet(explained).draw()


class _Sheet:
    def __init__(self, explained: Explained) -> None:
        self._explained = explained
        width, height = fitted(explained.picture)
        panel = max(width, PANEL_WIDTH)
        self._width = MARGIN + panel + GAP + COLUMN_WIDTH + MARGIN
        text_width = self._width - 2 * MARGIN
        self._question = wrap(explained.question, HEADLINE, text_width, MAX_LINES)
        self._answer = wrap(explained.answer, HEADLINE, text_width, MAX_LINES)
        lines = len(self._question) + len(self._answer)
        self._top = MARGIN + 2 * (line_height(CAPTION) + GAP // 2) + lines * line_height(HEADLINE)
        self._area = Box(MARGIN, self._top, MARGIN + width, self._top + height)
        self._column = MARGIN + panel + GAP

    def draw(self) -> Image.Image:
        # The column's height is known once it is drawn, so the sheet is cut afterwards.
        self._paper = Paper(self._width, self._top + PICTURE_HEIGHT + 2 * THUMBNAIL_SIDE)
        self._draw_texts()
        self._draw_tiles()
        bottom = max(self._area.bottom, self._draw_column())
        return self._paper.image.crop((0, 0, self._width, bottom + MARGIN))

    def _draw_texts(self) -> None:
        top = MARGIN
        for caption, lines in (("QUESTION", self._question), ("ANSWER", self._answer)):
            top = self._paper.lines([caption], MARGIN, top, CAPTION, GREY)
            top = self._paper.lines(lines, MARGIN, top, HEADLINE) + GAP // 2

    def _draw_tiles(self) -> None:
        resolution = self._explained.resolution
        self._paper.picture(self._explained.picture, self._area)
        for index, box in enumerate(tile_boxes(self._area, resolution.columns, resolution.rows)):
            self._draw_tile(index, box)

    def _draw_tile(self, index: int, box: Box) -> None:
        resolution = self._explained.resolution
        compressed = resolution.compressed[index]
        colour = COMPRESSED if compressed else FULL
        if compressed:
            self._paper.fill(box, colour, WASH)
        tokens = self._explained.compressed_tokens if compressed else self._explained.full_tokens
        self._paper.lattice(box, round(tokens**0.5), colour, COARSE if compressed else FINE)
        self._paper.frame(box, colour)
        if resolution.scores:
            self._paper.label(f"{resolution.scores[index]:.2f}", box, colour)

    def _draw_column(self) -> int:
        """Draw thumbnail, legend and bars; return where they end."""
        top = self._top
        if self._explained.resolution.has_thumbnail:
            top = self._draw_thumbnail(top)
        top = self._draw_legend(top)
        return self._draw_bars(top + GAP // 2)

    def _draw_thumbnail(self, top: int) -> int:
        box = Box(self._column, top, self._column + THUMBNAIL_SIDE, top + THUMBNAIL_SIDE)
        self._paper.picture(self._explained.picture, box)
        self._draw_tile(len(self._explained.resolution.compressed) - 1, box)
        caption = ["thumbnail: the whole picture as one tile"]
        return self._paper.lines(caption, self._column, box.bottom + 8, CAPTION, GREY) + GAP // 2

    def _draw_legend(self, top: int) -> int:
        explained, usage = self._explained, self._explained.finished.usage
        full = usage.tiles - usage.compressed_tiles
        top = self._key(top, FULL, f"{full} at full resolution", explained.full_tokens)
        if usage.compressed_tiles:
            name = f"{usage.compressed_tiles} compressed"
            top = self._key(top, COMPRESSED, name, explained.compressed_tokens)
        notes = "One cell is one visual token."
        if explained.resolution.scores:
            notes += " The number is the gate's probability that the tile may be compressed."
        lines = wrap(notes, CAPTION, COLUMN_WIDTH, MAX_LINES)
        return self._paper.lines(lines, self._column, top + 6, CAPTION, GREY)

    def _key(self, top: int, colour: Colour, name: str, tokens: int) -> int:
        swatch = Box(self._column, top, self._column + TEXT, top + TEXT)
        self._paper.fill(swatch, colour)
        lines = [name, f"{tokens} visual tokens each"]
        left = swatch.right + 10
        top = self._paper.lines(lines[:1], left, top - 2, TEXT)
        return self._paper.lines(lines[1:], left, top, CAPTION, GREY) + 10

    def _draw_bars(self, top: int) -> int:
        usage = self._explained.finished.usage
        before, after = usage.visual_tokens_before_resolution, usage.visual_tokens
        compressed = usage.compressed_tiles * self._explained.compressed_tokens
        top = self._bar(top, f"{before} visual tokens without ViR", [(GREY, before)])
        parts = [(FULL, after - compressed), (COMPRESSED, compressed)]
        top = self._bar(top, f"{after} with ViR", parts)
        saved = f"{1 - after / before:.0%} saved" if after < before else "nothing saved"
        return self._paper.lines([saved], self._column, top, HEADLINE, INK)

    def _bar(self, top: int, name: str, parts: list[tuple[Colour, int]]) -> int:
        before = self._explained.finished.usage.visual_tokens_before_resolution
        top = self._paper.lines([name], self._column, top, CAPTION)
        begin = 0
        for colour, tokens in parts:
            left, right = (
                self._column + COLUMN_WIDTH * edge // before for edge in (begin, begin + tokens)
            )
            self._paper.fill(Box(left, top, right, top + BAR_HEIGHT), colour)
            begin += tokens
        return top + BAR_HEIGHT + 10
