"""Draw a scene as a picture; everything scales with the picture's own size."""

from functools import cache

from PIL import Image, ImageDraw, ImageFont

from training.scenes import TILE, Dots, Scene, Shape, Sign
from training.vocabulary import BACKGROUNDS, COLOURS

SIGN_WIDTH, SIGN_HEIGHT = 52.0, 26.0
FONT_SIZE = 20.0
DOT_RADIUS = 3.5
OVERSAMPLING = 2

Point = tuple[float, float]


def draw_picture(scene: Scene) -> Image.Image:
    """Draw a scene at its own size, smoothed by drawing it larger first."""
    size = (scene.width * OVERSAMPLING, scene.height * OVERSAMPLING)
    picture = Image.new("RGB", size, BACKGROUNDS[scene.background])
    pen = Pen(
        ImageDraw.Draw(picture), size[0] / (scene.columns * TILE), size[1] / (scene.rows * TILE)
    )
    for shape in (*scene.big_shapes, *scene.icons):
        pen.shape(shape)
    for sign in scene.signs:
        pen.sign(sign)
    if scene.dots is not None:
        pen.dots(scene.dots)
    return picture.resize((scene.width, scene.height), Image.Resampling.BOX)


def character_centres(sign: Sign) -> list[tuple[float, str]]:
    """Where each character of a sign is: centre in tile pixels from the left, and which."""
    font = _font(64)
    scale = _fitting_size(sign.text) / 64
    left = sign.x - font.getlength(sign.text) * scale / 2
    return [
        (left + scale * (font.getlength(sign.text[:i]) + font.getlength(sign.text[: i + 1])) / 2, c)
        for i, c in enumerate(sign.text)
    ]


class Pen:
    """Draws in tile pixels on a canvas of another scale."""

    def __init__(self, draw: ImageDraw.ImageDraw, scale_x: float, scale_y: float) -> None:
        self._draw = draw
        self._scale_x = scale_x
        self._scale_y = scale_y

    def shape(self, shape: Shape) -> None:
        """Draw a filled figure with a thin dark edge."""
        x, y, r = shape.x, shape.y, shape.radius
        edge = max(1, round(self._scale_x))
        fill, outline = COLOURS[shape.colour], (60, 60, 60)
        if shape.name == "circle":
            self._draw.ellipse(self._box(x, y, r, r), fill, outline, edge)
        else:
            points = [self._point(x + r * dx, y + r * dy) for dx, dy in OUTLINES[shape.name]]
            self._draw.polygon(points, fill, outline, edge)

    def sign(self, sign: Sign) -> None:
        """Draw a plate with its text in the contrasting ink."""
        red, green, blue = COLOURS[sign.colour]
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 140
        ink = (255, 255, 255) if dark else (0, 0, 0)
        box = self._box(sign.x, sign.y, SIGN_WIDTH / 2, SIGN_HEIGHT / 2)
        self._draw.rectangle(box, COLOURS[sign.colour], (60, 60, 60), max(1, round(self._scale_x)))
        font = _font(round(_fitting_size(sign.text) * self._scale_y))
        self._draw.text(
            self._point(sign.x, sign.y), sign.text, ink, font, anchor="mm",
            stroke_width=0.35 * self._scale_y, stroke_fill=ink,
        )  # fmt: skip

    def dots(self, dots: Dots) -> None:
        """Draw small filled circles."""
        for x, y in dots.centres:
            box = self._box(x, y, DOT_RADIUS, DOT_RADIUS)
            self._draw.ellipse(box, COLOURS[dots.colour], (60, 60, 60))

    def _point(self, x: float, y: float) -> Point:
        return x * self._scale_x, y * self._scale_y

    def _box(self, x: float, y: float, half_width: float, half_height: float) -> list[Point]:
        return [
            self._point(x - half_width, y - half_height),
            self._point(x + half_width, y + half_height),
        ]


OUTLINES: dict[str, tuple[Point, ...]] = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0, -1), (1, 0.85), (-1, 0.85)),
    "diamond": ((0, -1), (0.75, 0), (0, 1), (-0.75, 0)),
    "cross": (
        (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35),
        (0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35),
    ),
    "star": (
        (0, -1), (0.25, -0.32), (0.95, -0.31), (0.4, 0.12), (0.6, 0.81), (0, 0.4),
        (-0.6, 0.81), (-0.4, 0.12), (-0.95, -0.31), (-0.25, -0.32),
    ),
}  # fmt: skip


def _fitting_size(text: str) -> float:
    """Font size at which a text fills its plate; a long word is set smaller."""
    return min(FONT_SIZE, 46.0 * FONT_SIZE / _font(int(FONT_SIZE)).getlength(text))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  # given a size it always is
    return font
