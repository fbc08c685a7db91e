"""Plots as inline SVG: pure functions from figures to markup, with no script, no font and no outside resource.

Widths are percentages and text is never scaled, so that a plot reads as well at 400 pixels as on paper. Colours are CSS classes of the page;
outcomes differ by hatching too, for readers who do not see colours and for printers that have none. What is text in a plot is escaped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from custodes.scan.report import Point
from custodes.scan.wording import duration

__all__ = ["AreaText", "Part", "area", "bar", "hatches", "stacked", "swatch"]

LEAST_SHARE: Final = 0.006
"""A part that holds any row at all is drawn at least this wide, so that it is seen; the legend has the true figures."""

_HATCHES: Final = {
    "unavailable": "M-1,1 l2,-2 M0,6 l6,-6 M5,7 l2,-2",
    "undecodable": "M0,3 h6",
    "failed": "M0,0 l6,6 M6,0 l-6,6",
}


@dataclass(frozen=True)
class Part:
    """A part of a stacked bar: its CSS class, its name, its figure as text, and its share of the whole, 0 to 1."""

    css: str
    name: str
    figure: str
    share: float


@dataclass(frozen=True)
class AreaText:
    """What is written on and about an area plot."""

    title: str
    description: str
    top: str


def hatches() -> Markup:
    """The patterns that other plots on the page refer to. Belongs on the page once, before them."""
    template = Markup(
        '<pattern id="hatch-{}" width="6" height="6" patternUnits="userSpaceOnUse"><path d="{}" class="hatch"/></pattern>'
    )
    patterns = Markup("").join(template.format(name, path) for name, path in _HATCHES.items())
    return Markup('<svg class="defs" width="0" height="0" aria-hidden="true"><defs>{}</defs></svg>').format(patterns)


def drawn_widths(shares: Sequence[float]) -> list[float]:
    """Shares as widths in percent: nothing that is there vanishes, and together they never pass 100."""
    raised = [max(share, LEAST_SHARE) if share > 0 else 0.0 for share in shares]
    total = max(sum(raised), sum(shares), 1e-9)
    return [100 * share / total for share in raised]


def stacked(parts: Sequence[Part], title: str, identity: str) -> Markup:
    """One bar cut into parts, left to right. ``identity`` is unique on the page."""
    drawn, left = Markup(""), 0.0
    for part, width in zip(parts, drawn_widths([part.share for part in parts]), strict=True):
        if width:
            drawn += _segment(part, left, width)
        left += width
    text = "; ".join(f"{part.name}: {part.figure}" for part in parts)
    return Markup(
        '<svg class="stacked" role="img" aria-labelledby="{0}-t {0}-d" width="100%" height="44">'
        '<title id="{0}-t">{1}</title><desc id="{0}-d">{2}</desc>'
        '<rect class="track" width="100%" height="44"/>{3}</svg>'
    ).format(identity, title, text, drawn)


def _segment(part: Part, left: float, width: float) -> Markup:
    place = Markup('x="{}%" width="{}%" height="44"').format(f"{left:.3f}", f"{width:.3f}")
    return Markup('<g><title>{}: {}</title><rect class="fill-{}" {}/>{}<rect class="edge" {}/></g>').format(
        part.name, part.figure, part.css, place, _hatched(part.css, place), place
    )


def _hatched(css: str, place: Markup) -> Markup:
    return Markup('<rect fill="url(#hatch-{})" {}/>').format(css, place) if css in _HATCHES else Markup("")


def swatch(css: str) -> Markup:
    """The key of a part in a legend."""
    place = Markup('width="14" height="14"')
    return Markup(
        '<svg class="swatch" width="14" height="14" aria-hidden="true"><rect class="fill-{}" {}/>{}</svg>'
    ).format(css, place, _hatched(css, place))


def bar(share: float, css: str, title: str) -> Markup:
    """One horizontal bar on its track; ``share`` of the full width, 0 to 1."""
    width = f"{100 * min(max(share, LEAST_SHARE), 1.0) if share > 0 else 0:.3f}"
    place = Markup('width="{}%" height="10"').format(width)
    return Markup(
        '<svg class="bar" role="img" width="100%" height="10"><title>{}</title><rect class="track" width="100%" height="10"/>'
        '<rect class="fill-{}" {}/>{}</svg>'
    ).format(title, css, place, _hatched(css, place))


def area(points: Sequence[Point], text: AreaText, identity: str) -> Markup:
    """Rows per second over time as a filled line, from 0 up to the highest point. Needs one point at least."""
    step = points[0].at_s * 2  # a point stands in the middle of its interval, and the first interval starts at 0
    end, top = max(points[-1].at_s + step / 2, 1e-9), max(1e-9, *(point.rows_per_s for point in points))
    places = [(1000 * point.at_s / end, 100 - 96 * point.rows_per_s / top) for point in points]
    line = " ".join(f"{x:.1f},{y:.2f}" for x, y in [(0.0, places[0][1]), *places, (1000.0, places[-1][1])])
    marks = Markup("").join(
        Markup('<text x="{}%" y="100%" dy="-4" text-anchor="{}">{}</text>').format(at, anchor, label)
        for at, anchor, label in ((0, "start", "0"), (50, "middle", duration(end / 2)), (100, "end", duration(end)))
    )
    return Markup(
        '<svg class="area" role="img" aria-labelledby="{0}-t {0}-d" width="100%" height="210">'
        '<title id="{0}-t">{1}</title><desc id="{0}-d">{2}</desc>'
        '<text x="0" y="13">{3}</text>'
        '<svg y="20" width="100%" height="164" viewBox="0 0 1000 100" preserveAspectRatio="none">'
        '<path class="grid" d="M0,4H1000M0,52H1000"/>'
        '<polygon class="under" points="0,100 {4} 1000,100"/><polyline class="line" points="{4}"/>'
        '<path class="axis" d="M0,100H1000"/></svg>{5}</svg>'
    ).format(identity, text.title, text.description, text.top, line, marks)
