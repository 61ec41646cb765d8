"""A small drawing board for charts: shapes and text in, one SVG element out.

Every text passes through :func:`escape`: names from a CRM are hostile. Coordinates are pixels from the top
left, rounded to a tenth, so that equal input gives equal bytes.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from quotacast.engine.reports.units import clean, cut, wide

Point = tuple[float, float]

# Okabe and Ito's palette, readable with every common kind of colour blindness (jfly.uni-koeln.de/color).
BLUE, SKY, ORANGE, VERMILLION, GREEN = "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73"
INK, SOFT, GRID, PAST, PALE, PAPER = "#1b2430", "#5b6776", "#e3e7ec", "#aab4bf", "#d6e9f5", "#ffffff"

_LETTER = 0.56  # mean width of a letter of the page's font, as a share of its size


def escape(text: str) -> str:
    """Text safe inside an element and inside an attribute."""
    return html.escape(clean(text), quote=True)


def _n(x: float) -> str:
    text = f"{x:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def text_width(text: str, size: float) -> float:
    """About how many pixels the text takes."""
    return wide(text) * size * _LETTER


def fit(text: str, width: float, size: float) -> str:
    """The text, cut with an ellipsis where it would be wider than ``width`` pixels."""
    return cut(clean(text), max(1, int(width / (size * _LETTER))))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers (1, 2, 2.5 or 5 times a power of ten) around ``low`` to ``high``."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low, low + 1.0]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m * count >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """Maps ``low``..``high`` to the pixels ``start``..``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, x: float) -> float:
        return self.start + (x - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)


@dataclass
class Board:
    """A drawing in the making.

    Attributes
    ----------
    width, height : float
        Size in pixels; the page scales it to the room there is.
    title : str
        What the picture shows, for those who cannot see it.
    """

    width: float
    height: float
    title: str
    parts: list[str] = field(default_factory=list)

    def rect(self, x: float, y: float, width: float, height: float, fill: str, tip: str = "") -> None:
        """A filled rectangle; ``tip`` appears when the mouse rests on it."""
        box = f'x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0))}" height="{_n(max(height, 0))}"'
        hint = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(f'<rect {box} fill="{fill}">{hint}</rect>')

    def line(self, points: Sequence[Point], stroke: str, width: float = 1.0, dash: str = "") -> None:
        """A line through the points."""
        at = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<polyline points="{at}" fill="none" stroke="{stroke}" stroke-width="{_n(width)}"{dashed}/>'
        )

    def area(self, upper: Sequence[Point], lower: Sequence[Point], fill: str) -> None:
        """The band between two lines."""
        at = " ".join(f"{_n(x)},{_n(y)}" for x, y in [*upper, *reversed(lower)])
        self.parts.append(f'<polygon points="{at}" fill="{fill}"/>')

    def dot(self, x: float, y: float, fill: str, tip: str = "") -> None:
        """A small filled circle."""
        hint = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="3" fill="{fill}">{hint}</circle>')

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 12,
        anchor: str = "start",
        fill: str = INK,
        bold: bool = False,
    ) -> None:
        """Text whose baseline starts, is centred or ends at the point; escaped."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" text-anchor="{anchor}" '
            f'fill="{fill}"{weight}>{escape(text)}</text>'
        )

    def legend(self, items: Sequence[tuple[str, str]], x: float, y: float, size: float = 12) -> float:
        """Swatches with names from (colour, name), wrapped at the right edge; returns the y below them.

        A colour after two dashes (``--#0072B2``) gets the swatch of a line.
        """
        at = x
        for colour, name in items:
            takes = 16 + text_width(name, size) + 16
            if at > x and at + takes - 16 > self.width:
                at, y = x, y + size + 6
            line = colour.startswith("--")
            self.rect(at, y - size + (7 if line else 3), 11, 3 if line else 11, colour.lstrip("-"))
            self.text(at + 16, y + 1, name, size=size, fill=SOFT)
            at += takes
        return y + size + 6

    def svg(self) -> str:
        """The finished element; ``role`` and ``aria-label`` say what it is."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(self.width)} {_n(self.height)}" '
            f'role="img" aria-label="{escape(self.title)}">'
        )
        return head + "".join(self.parts) + "</svg>"
