"""Precision and recall by threshold, with their intervals, as an SVG file: a pure function from a card to markup.

No script, no font, no outside resource; light and dark by what the reader prefers. The two curves differ by dashes too, and every figure stands in the title
of its point, so that the plot is read without colours and without eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from custodes.similar.measure import Share
from custodes.similar.probe import ProbeCard

__all__ = ["curve"]

_LEFT: Final = 64.0
_TOP: Final = 56.0
_WIDTH: Final = 560.0
_HEIGHT: Final = 280.0
_STYLE: Final = Markup("""
svg{font:14px system-ui,sans-serif;fill:#222;background:#fff}
.grid{stroke:#ddd}.axis{stroke:#888}
.line{fill:none;stroke-width:2}.band{opacity:.18}
.precision .line{stroke:#0b62a8}.precision .band,.precision circle{fill:#0b62a8}
.recall .line{stroke:#b3541e;stroke-dasharray:7 4}.recall .band,.recall circle{fill:#b3541e}
@media (prefers-color-scheme:dark){svg{fill:#ddd;background:#1a1a1a}.grid{stroke:#333}
.precision .line{stroke:#6fb7f2}.precision .band,.precision circle{fill:#6fb7f2}
.recall .line{stroke:#f0a06a}.recall .band,.recall circle{fill:#f0a06a}}
""")


def curve(card: ProbeCard) -> str:
    """The plot of a card."""
    thresholds = [level.threshold for level in card.levels]
    precision = _series("precision", thresholds, [level.precision for level in card.levels])
    recall = _series("recall", thresholds, [level.recall for level in card.levels])
    judged = f"{card.positives:,} confirmed and {card.negatives:,} rejected photos, {card.settings.folds} folds"
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 656 400" role="img" aria-labelledby="t d">'
            '<title id="t">Precision and recall by threshold</title><desc id="d">{}</desc><style>{}</style>{}{}{}{}</svg>\n'
        ).format(_said(card, judged), _STYLE, _frame(), recall, precision, _legend(judged))
    )


def _said(card: ProbeCard, judged: str) -> str:
    """The plot in words."""
    told = [
        f"from {level.threshold}: precision {_figure(level.precision)}, recall {_figure(level.recall)}"
        for level in card.levels
    ]
    return f"Cross-validated on {judged}. " + "; ".join(told) + "."


def _figure(share: Share) -> str:
    value = "none" if share.value is None else f"{share.value:.2f}"
    return f"{value} ({share.hits:,} of {share.of:,}; {share.low:.2f} to {share.high:.2f})"


def _place(threshold: float, value: float) -> str:
    return f"{_LEFT + _WIDTH * threshold:.1f},{_TOP + _HEIGHT * (1 - value):.1f}"


def _series(name: str, thresholds: Sequence[float], shares: Sequence[Share]) -> Markup:
    """Its interval as a band, its line, and a point for each threshold; what is a share of nothing has no point."""
    there = [(at, share, share.value) for at, share in zip(thresholds, shares, strict=True) if share.value is not None]
    highs = [_place(at, share.high) for at, share, _ in there]
    lows = [_place(at, share.low) for at, share, _ in reversed(there)]
    points = Markup("").join(
        Markup('<circle cx="{}" cy="{}" r="3"><title>{} from {}: {}</title></circle>').format(
            *_place(at, value).split(","), name, at, _figure(share)
        )
        for at, share, value in there
    )
    line = " ".join(_place(at, value) for at, _, value in there)
    return Markup('<g class="{}"><polygon class="band" points="{}"/><polyline class="line" points="{}"/>{}</g>').format(
        name, " ".join([*highs, *lows]), line, points
    )


def _frame() -> Markup:
    drawn = Markup("")
    for step in range(6):
        value = step / 5
        y, x = _TOP + _HEIGHT * (1 - value), _LEFT + _WIDTH * value
        drawn += Markup(
            '<path class="{}" d="M{} {:.1f}h{}"/><text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
        ).format("grid" if step else "axis", _LEFT, y, _WIDTH, _LEFT - 8, y + 5, value)
        drawn += Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(x, _TOP + _HEIGHT + 20, value)
    return drawn + Markup('<text x="{}" y="{}" text-anchor="middle">threshold of the score</text>').format(
        _LEFT + _WIDTH / 2, _TOP + _HEIGHT + 46
    )


def _legend(judged: str) -> Markup:
    return Markup(
        '<text x="{0}" y="20">{1}</text><g class="precision"><path class="line" d="M{0} 38h28"/></g><text x="{2}" y="43">precision</text>'
        '<g class="recall"><path class="line" d="M{3} 38h28"/></g><text x="{4}" y="43">recall; bands: 95 % intervals</text>'
    ).format(_LEFT, judged, _LEFT + 36, _LEFT + 130, _LEFT + 166)
