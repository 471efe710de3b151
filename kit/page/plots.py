"""The style of figures, and the conversion of matplotlib's SVG for the page.

Every colour has a contrast of at least 3 on white and on the page's dark background; ink and grid take the colour of
the page's text. No SVG needs a style sheet of its own, so that the page can forbid all but its one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree as ET

from kit.page.blocks import Figure

#: Position of a legend.
Position = Literal["best", "upper left", "upper right", "lower right"]

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours of encoders or seeds, in this order; markers distinguish them as well.
COLOURS = ("#2f7fd6", "#d9541e", "#1a9a6c", "#a75fc4", "#a97c00", "#d4508b", "#1593a5", "#8a7a6a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: Text and lines; replaced by the colour of the page's text.
INK = "#1b2026"
GRID = "#808a96"
#: Inches of a figure, small enough for a phone; dots per inch of pictures in an SVG, and of a PNG.
SIZE, DOTS, PNG_DOTS = (4.2, 3.2), 150, 110

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "axes.axisbelow": True,
    "path.simplify_threshold": 0.3,
}
#: Characters of a title.
_LONGEST = 34


def colour(index: int) -> str:
    """Return the colour of the n-th encoder or seed."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    """Return its marker; where colours repeat, the markers differ."""
    return MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def short(name: str) -> str:
    """Shorten a name to fit over a figure."""
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def figure(name: str, *, alt: str, caption: str, draw: Callable[[Axes], object], left: float = 0.14) -> Figure:
    """Draw a figure with one pair of axes, as SVG and as PNG; the same drawing gives the same bytes.

    Args:
        left: share of the width to the left of the axes, for their labels.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(_STYLE | {"svg.hashsalt": name}):
        canvas = Canvas(figsize=SIZE)
        draw(canvas.add_axes((left, 0.15, 0.97 - left, 0.76)))
        svg, png = io.StringIO(), io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.savefig(svg, format="svg", transparent=True, dpi=DOTS, metadata=nothing)
        canvas.savefig(png, format="png", facecolor="white", dpi=PNG_DOTS, metadata={"Software": None})
    return Figure(name=name, alt=alt, caption=caption, svg=inlined(svg.getvalue(), name, alt), png=png.getvalue())


def legend(axes: Axes, names: Sequence[str], loc: Position, drawn: Iterable[int] | None = None) -> None:
    """Add a legend of colours and markers; none where everything on the page has one colour, or too many have one.

    Args:
        names: of all encoders or seeds of the page.
        drawn: numbers of those that this figure shows; None for all.
    """
    from matplotlib.lines import Line2D

    shown = list(range(len(names)) if drawn is None else drawn)
    handles = [
        Line2D([], [], color=colour(index), marker=marker(index), linestyle="none", markersize=4) for index in shown
    ]
    if len(names) > 1 and 0 < len(shown) <= 2 * len(COLOURS):
        axes.legend(
            handles,
            [short(names[index]) for index in shown],
            ncols=1 + (len(shown) > 4),
            handletextpad=0.1,
            borderaxespad=0.2,
            loc=loc,
        )


def inlined(svg: str, name: str, alt: str) -> str:
    """Convert an SVG for a page with many: unique ids, no style sheet, the page's ink and font."""
    root = ET.fromstring(svg)  # noqa: S314 - matplotlib has just written it
    for child in list(root):
        if child.tag == f"{{{_SVG}}}metadata" or child.find(f"{{{_SVG}}}style") is not None:
            root.remove(child)
    for element in root.iter():
        _plain(element, name)
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.attrib |= {"role": "img", "aria-label": alt}
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


def _plain(element: ET.Element, name: str) -> None:
    """Turn styles into attributes, which a content security policy does not restrict, and make ids unique."""
    values = dict(part.split(":", 1) for part in element.attrib.pop("style", "").split(";") if ":" in part)
    values = {key.strip(): value.strip() for key, value in values.items()}
    values.pop("font-family", None)
    values = {key: "currentColor" if value == INK else value for key, value in values.items()}
    element.attrib.update({key: value for key, value in values.items() if not key.startswith("-")})
    if reference := element.attrib.pop(f"{{{_XLINK}}}href", ""):
        element.set("href", reference)
    for key, value in element.attrib.items():
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == "href" and value.startswith("#"):
            element.set(key, f"#{name}-{value[1:]}")
        elif value.startswith("url(#"):
            element.set(key, f"url(#{name}-{value[5:]}")
        elif key == "d":
            element.set(key, re.sub(r"\s+", " ", value).strip())
