"""Simple drawings that become SVG and PNG alike, without a browser.

A drawing is a list of boxes, lines, areas, dots and texts. All texts are data's or ours and are
escaped by the template; nothing in an SVG refers to anything outside of it.
"""

from __future__ import annotations

import io
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import Environment

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# Of a slide; 1,920 by 1,080 pixels as PNG.
WIDTH, HEIGHT, SCALE = 960, 540, 2
INK, FAINT, GRID = "#1f2937", "#5b6472", "#d5dae1"
Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]
# Fonts with more letters than the one that comes with Pillow, where one of them is installed.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "arial.ttf",
)
_LAST_LATIN = 0x17F
_NEXT_TO_NOTHING = 1e-9  # pixels


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One thing that is drawn.

    Attributes:
        kind: "box", "line", "area", "dot" or "text".
        points: Corners of a box (two), ends of a line, corners of an area, a dot's or text's place.
        fill: Colour.
        width: Of a line, or radius of a dot.
        opacity: 0 to 1.
        text: What is written.
        size: Of the letters.
        anchor: Which end of the text is at its place.
        bold: Whether it is written in bold.
        dashed: Whether a line is.
    """

    kind: str
    points: tuple[Point, ...]
    fill: str = INK
    width: float = 1.0
    opacity: float = 1.0
    text: str = ""
    size: float = 16.0
    anchor: Anchor = "start"
    bold: bool = False
    dashed: bool = False


@dataclass
class Drawing:
    """A figure.

    Attributes:
        name: In files and in the page, of letters and hyphens.
        title: Stands above it.
        description: What it shows, for who cannot see it.
    """

    name: str
    title: str
    description: str
    shapes: list[Shape] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """Draw a box."""
        self.shapes.append(Shape(kind="box", points=((x, y), (x + width, y + height)), fill=fill))

    def line(
        self, points: Sequence[Point], fill: str, width: float = 1.5, *, dashed: bool = False
    ) -> None:
        """Draw a line through points."""
        self.shapes.append(
            Shape(kind="line", points=tuple(points), fill=fill, width=width, dashed=dashed)
        )

    def area(self, points: Sequence[Point], fill: str, opacity: float = 1.0) -> None:
        """Draw what lies within some points."""
        self.shapes.append(Shape(kind="area", points=tuple(points), fill=fill, opacity=opacity))

    def dot(self, x: float, y: float, radius: float, fill: str) -> None:
        """Draw a dot."""
        self.shapes.append(Shape(kind="dot", points=((x, y),), fill=fill, width=radius))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 16.0,
        fill: str = INK,
        anchor: Anchor = "start",
        bold: bool = False,
    ) -> None:
        """Write a line of text; ``y`` is where the letters stand."""
        self.shapes.append(
            Shape(
                kind="text",
                points=((x, y),),
                fill=fill,
                text=clean(text),
                size=size,
                anchor=anchor,
                bold=bold,
            )
        )


def clean(text: str) -> str:
    """Return text on one line without what XML cannot hold or what turns the direction."""
    kept = "".join(one if one.isprintable() else " " for one in text)
    return " ".join(kept.split())


def fit(text: str, width: float, size: float) -> str:
    """Return a text that is shortened to about a width."""
    text, room = clean(text), width / (0.52 * size)
    if measure_columns(text) <= room:
        return text
    while text and measure_columns(text) > room - 1:
        text = text[:-1]
    return text.rstrip() + "…"


def measure_columns(text: str) -> int:
    """Return how wide a text is, in letters; those of East Asia count twice."""
    return sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


# Presentation attributes and no styles, so that a page may forbid styles but its own.
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ width }} {{ height }}" role="img" \
aria-labelledby="{{ one.name }}-title {{ one.name }}-description" \
font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif">
<title id="{{ one.name }}-title">{{ one.title }}</title>
<desc id="{{ one.name }}-description">{{ one.description }}</desc>
{% if on_white %}<rect width="{{ width }}" height="{{ height }}" fill="#ffffff"/>
{% endif %}
{%- for shape in one.shapes %}
{%- if shape.kind == "box" -%}
<rect x="{{ n(shape.points[0][0]) }}" y="{{ n(shape.points[0][1]) }}" \
width="{{ n(shape.points[1][0] - shape.points[0][0]) }}" \
height="{{ n(shape.points[1][1] - shape.points[0][1]) }}" fill="{{ shape.fill }}"/>
{% elif shape.kind == "line" -%}
<polyline points="{{ corners(shape.points) }}" fill="none" stroke="{{ shape.fill }}" \
stroke-width="{{ n(shape.width) }}"{% if shape.dashed %} stroke-dasharray="6 5"{% endif %}/>
{% elif shape.kind == "area" -%}
<polygon points="{{ corners(shape.points) }}" fill="{{ shape.fill }}" \
fill-opacity="{{ n(shape.opacity) }}"/>
{% elif shape.kind == "dot" -%}
<circle cx="{{ n(shape.points[0][0]) }}" cy="{{ n(shape.points[0][1]) }}" \
r="{{ n(shape.width) }}" fill="{{ shape.fill }}"/>
{% else -%}
<text x="{{ n(shape.points[0][0]) }}" y="{{ n(shape.points[0][1]) }}" \
font-size="{{ n(shape.size) }}" fill="{{ shape.fill }}" text-anchor="{{ shape.anchor }}"\
{% if shape.bold %} font-weight="600"{% endif %} unicode-bidi="isolate">{{ shape.text }}</text>
{% endif %}
{%- endfor %}</svg>
"""
_TEMPLATE = Environment(autoescape=True).from_string(_SVG)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _corners(points: Sequence[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def make_svg(drawing: Drawing, *, on_white: bool = False) -> str:
    """Return a drawing as SVG; every text in it is escaped.

    Args:
        drawing: What is drawn.
        on_white: Whether it brings its own ground, for a file of its own.
    """
    return _TEMPLATE.render(
        one=drawing, width=WIDTH, height=HEIGHT, n=_number, corners=_corners, on_white=on_white
    )


def make_png(drawing: Drawing) -> bytes:
    """Return a drawing as PNG of 1,920 by 1,080 pixels.

    Letters beyond Latin are written where a font of the system has them.
    """
    from PIL import Image, ImageDraw

    # Drawn twice as large again, so that slanted lines are smooth.
    factor = 2 * SCALE
    image = Image.new("RGB", (WIDTH * factor, HEIGHT * factor), "white")
    canvas = ImageDraw.Draw(image)
    texts: list[Shape] = []
    for shape in drawing.shapes:
        points = [(x * factor, y * factor) for x, y in shape.points]
        if shape.kind == "box":
            canvas.rectangle([points[0], _below(points[1])], fill=shape.fill)
        elif shape.kind == "line":
            for part in _dash(points, 6 * factor) if shape.dashed else [points]:
                canvas.line(part, fill=shape.fill, width=max(1, round(shape.width * factor)))
        elif shape.kind == "area":
            canvas.polygon(points, fill=_mix(shape.fill, shape.opacity))
        elif shape.kind == "dot":
            canvas.circle(points[0], shape.width * factor, fill=shape.fill)
        else:
            texts.append(shape)
    image = image.resize((WIDTH * SCALE, HEIGHT * SCALE), Image.Resampling.LANCZOS)
    canvas = ImageDraw.Draw(image)
    for shape in texts:
        x, y = shape.points[0]
        canvas.text(
            (x * SCALE, y * SCALE),
            shape.text,
            fill=shape.fill,
            font=_choose_font(shape.text, shape.size * SCALE),
            anchor={"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor],
            stroke_width=0.6 if shape.bold else 0,
        )
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _below(corner: Point) -> Point:
    # Pillow's boxes hold their last row and column.
    return corner[0] - 1, corner[1] - 1


def _dash(points: Sequence[Point], length: float) -> list[list[Point]]:
    """Return every second piece of a line, counted along all of it and not anew at its corners."""
    pieces: list[list[Point]] = []
    left, is_drawn = length, True
    for (x, y), (to_x, to_y) in pairwise(points):
        whole, gone = math.hypot(to_x - x, to_y - y), 0.0
        while whole - gone > _NEXT_TO_NOTHING:
            step = min(left, whole - gone)
            if is_drawn:
                first, last = gone / whole, (gone + step) / whole
                pieces.append(
                    [
                        (x + (to_x - x) * first, y + (to_y - y) * first),
                        (x + (to_x - x) * last, y + (to_y - y) * last),
                    ]
                )
            gone, left = gone + step, left - step
            if left <= _NEXT_TO_NOTHING:
                left, is_drawn = length, not is_drawn
    return pieces


def _mix(colour: str, opacity: float) -> tuple[int, int, int]:
    """Return a colour as it looks on white."""
    parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    red, green, blue = (round(255 + (part - 255) * opacity) for part in parts)
    return red, green, blue


def _choose_font(text: str, size: float) -> Any:
    return _load_font(round(size), all(ord(one) <= _LAST_LATIN or one in "…−–" for one in text))


@lru_cache(maxsize=64)
def _load_font(size: int, is_latin: bool) -> FreeTypeFont | Any:
    from PIL import ImageFont

    for name in () if is_latin else _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue  # not installed here
    return ImageFont.load_default(size)
