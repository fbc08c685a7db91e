"""The page is self-contained, says everything that it must, and cannot be steered by what a dataset is called."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files

import msgspec
import pytest
import sample_reports
from markupsafe import Markup

from custodes.model import OutcomeName, Reason
from custodes.scan import html, plots
from custodes.scan.html import LINES_MAX, render
from custodes.scan.report import Point
from custodes.scan.wording import REASON_WORDS

VOID = {"meta", "link", "br"}
_TEXT = [
    "head",
    "title",
    "style",
    "body",
    "main",
    "header",
    "section",
    "footer",
    "h1",
    "h2",
    "h3",
    "p",
    "dl",
    "dt",
    "dd",
    "div",
    "span",
]
_LISTS = ["small", "strong", "ul", "li", "table", "tr", "th", "td"]
_PLOTS = ["svg", "defs", "pattern", "path", "g", "rect", "text", "title", "desc", "polygon", "polyline"]
ALLOWED = {"html", *VOID, *_TEXT, *_LISTS, *_PLOTS}


class Reader(HTMLParser):
    """Reads a page and collects what is wrong with it."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.ids: Counter[str] = Counter()
        self.tags: Counter[str] = Counter()
        self.text: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in ALLOWED:
            self.wrong.append(f"element {tag}")
        for name, value in attrs:
            self._attribute(name, value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def _attribute(self, name: str, value: str) -> None:
        if name.startswith("on") or name in ("src", "srcset", "action", "style", "xlink:href"):
            self.wrong.append(f"attribute {name}")
        if name == "href" and value != "data:,":
            self.wrong.append(f"link to {value}")
        if "url(" in value and not re.fullmatch(r"url\(#[a-z-]+\)", value):
            self.wrong.append(f"resource {value}")
        if name == "id":
            self.ids[value] += 1

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"stray end of {tag}")

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def violations(self) -> list[str]:
        twice = [f"id {name} twice" for name, times in self.ids.items() if times > 1]
        left = [f"{tag} not ended" for tag in self._open]
        return self.wrong + twice + left


def violations(page: str) -> list[str]:
    """What makes a page unfit to be opened by somebody who trusts it."""
    reader = Reader()
    reader.feed(page)
    reader.close()
    style = page[page.index("<style>") : page.index("</style>")]
    odd = {
        f"character U+{ord(c):04X}"
        for c in page
        if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    }
    fetched = ["style fetches"] if "url(" in style or "@import" in style else []
    return reader.violations() + sorted(odd) + fetched


def words(page: str) -> str:
    """The text of a page, spaces as one."""
    reader = Reader()
    reader.feed(page[page.index("<body>") :])
    return " ".join(" ".join(reader.text).split())


@pytest.mark.parametrize("sample", sample_reports.SAMPLES.values(), ids=sample_reports.SAMPLES)
def test_a_page_holds_no_script_and_nothing_from_elsewhere(sample) -> None:
    page = render(sample())
    assert violations(page) == []
    page.encode()
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert page.startswith("<!doctype html>")
    assert "clean" not in page.lower()


FAULTS = {
    "a script": "<script>1</script>",
    "an outside image": '<img src="https://example.org/x.png">',
    "a link": '<p><a href="https://example.org/">x</a></p>',
    "a handler": '<p onclick="x()">x</p>',
    "a fetched fill": '<svg><rect fill="url(https://example.org/#x)"/></svg>',
    "a direction override": "<p>\u202e</p>",
    "an element left open": "<div>",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_check_of_pages_sees_a_planted_fault(fault: str) -> None:
    assert violations(render(sample_reports.ordinary()).replace("<main>", f"<main>{fault}"))


def test_without_escaping_the_hostile_page_would_be_caught(monkeypatch) -> None:
    fresh = html._environment.__wrapped__()
    fresh.autoescape = False
    monkeypatch.setattr(html, "_environment", lambda: fresh)
    assert "element script" in violations(render(sample_reports.hostile()))


def test_without_making_text_visible_the_hostile_page_would_be_caught(monkeypatch) -> None:
    fresh = html._environment.__wrapped__()
    fresh.filters["visible"] = lambda text, chars_max=300: text
    monkeypatch.setattr(html, "_environment", lambda: fresh)
    assert "character U+202E" in violations(render(sample_reports.hostile()))


def test_hostile_text_is_shown_as_text() -> None:
    page = render(sample_reports.hostile())
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{7*7}}" in page
    assert "\\u202egnp.txt" in page


def test_very_long_names_leave_the_page_small() -> None:
    assert len(render(sample_reports.hostile("x" * 100_000))) < 60_000
    assert len(render(sample_reports.hostile("\u202e" * 100_000))) < 90_000


def test_lists_of_names_are_shown_up_to_a_limit_and_the_rest_is_counted() -> None:
    def listed(number: int) -> str:
        found = {f"list-{i}": i + 1 for i in range(number)}
        lists = [{"id": name, "version": "1"} for name in found]
        return words(
            render(
                sample_reports.report_with({Reason.FULL: 10**6}, findings=10**5, findings_by_list=found, lists=lists)
            )
        )

    assert "more" not in listed(LINES_MAX).replace("and no more", "")
    assert listed(LINES_MAX + 1).count("and 1 more") == 2


def test_every_reason_that_occurred_is_explained() -> None:
    text = words(render(sample_reports.every_reason()))
    for reason, (label, sentence) in REASON_WORDS.items():
        if reason is not Reason.FULL:
            assert label in text
            assert sentence in text


def test_all_four_outcomes_stand_on_every_page() -> None:
    for sample in sample_reports.SAMPLES.values():
        text = words(render(sample()))
        assert all(f" {name.value} " in text for name in OutcomeName)


def test_a_page_says_with_what_and_for_whom_it_was_examined() -> None:
    text = words(render(sample_reports.ordinary()))
    for said in (
        "hotline/known, version 2026-11-01",
        "centre/shared, version v118",
        "age1ql3z7hjy…mcac8p",
        "fast/2",
        "landlock abi 4 + seccomp",
        "8,412 rows were examined, with the lists and versions named on this page. 3,588 rows were not",
        "12,000 rows in 6 of 6 shards; 515 MB of images fetched or read, none kept",
        "404 not found 1,801 53.2 %",
        "By list Shares of all findings; a row that matches several lists counts once for each. hotline/known 3 100 %",
    ):
        assert said in text
    assert sample_reports.ordinary().recipients[0] not in text


def test_a_page_without_findings_never_sounds_like_an_acquittal() -> None:
    text = words(render(sample_reports.nothing_found()))
    assert "No row matched the lists named below." in text
    assert "That is no judgement of the image" in text
    assert "3,588 29.9 %, of which at most a digest was compared" in text


def test_cautions_stand_before_the_figures() -> None:
    text = words(render(sample_reports.unsafe()))
    assert text.index("Demonstration only") < text.index("--unsafe-no-jail") < text.index("Rows done")


def test_the_warning_level_is_the_callers() -> None:
    assert "29.9 % of the rows were out of reach" not in words(render(sample_reports.ordinary()))
    assert "29.9 % of the rows were out of reach" in words(
        render(sample_reports.ordinary(), unexamined_warning_share=0.2)
    )


def test_failures_are_told_in_full() -> None:
    assert "WorldError: shard 17 ended 3 workers" in words(render(sample_reports.huge()))


def test_an_unknown_number_of_rows_is_said_to_be_unknown() -> None:
    assert "the dataset does not say how many it has" in words(
        render(sample_reports.report_with({Reason.FULL: 1}, rows_planned=-1))
    )


def test_every_plot_has_a_title() -> None:
    page = render(sample_reports.every_reason())
    pictures = re.findall(r'<svg[^>]*role="img".*?</svg>', page, re.DOTALL)
    assert len(pictures) > 40
    assert all("<title" in picture for picture in pictures)


def test_parts_of_a_bar_fill_it_and_none_that_is_there_vanishes() -> None:
    for shares in ([1.0, 0.0, 0.0, 0.0], [0.999_999_999, 1e-9, 0.0, 0.0], [0.25] * 4, [0.0] * 4, [0.4, 0.2, 0.0, 0.0]):
        widths = plots.drawn_widths(shares)
        assert sum(widths) <= 100 + 1e-9
        assert all((width > 0.5) == (share > 0) for width, share in zip(widths, shares, strict=True))
    assert sum(plots.drawn_widths([0.5, 0.5])) == pytest.approx(100)


@pytest.mark.parametrize("share", [-1.0, 0.0, 1e-9, 0.5, 1.0, 7.0])
def test_a_bar_stays_on_its_track(share: float) -> None:
    width = float(re.findall(r'width="([\d.]+)%" height="10"/></svg>', plots.bar(share, "examined", "x"))[0])
    assert 0 <= width <= 100
    assert (width > 0) == (share > 0)


@pytest.mark.parametrize(
    "points", [[Point(0.5, 0.0)], [Point(0.0, 0.0)], [Point(0.0005, 1e9)], [Point(1, 5), Point(3, 0)]]
)
def test_a_line_stays_in_its_frame(points: list[Point]) -> None:
    drawn = plots.area(points, plots.AreaText("t", "d", "top"), "x")
    pairs = re.search(r'<polyline class="line" points="([^"]+)"', drawn)
    assert pairs is not None
    for pair in pairs[1].split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= 1000
        assert 4 <= y <= 100


def test_text_in_plots_is_escaped() -> None:
    hostile = '<script>"&'
    part = plots.Part("examined", hostile, hostile, 1.0)
    drawn = plots.stacked([part], hostile, "x") + plots.bar(1, "examined", hostile)
    drawn += plots.area([Point(1, 1)], plots.AreaText(hostile, hostile, hostile), "y")
    assert isinstance(drawn, Markup)
    assert "<script" not in drawn


def test_a_page_is_the_same_every_time() -> None:
    assert render(sample_reports.ordinary()) == render(msgspec.structs.replace(sample_reports.ordinary()))


def test_the_template_fails_on_a_name_that_is_not_there() -> None:
    template = html._environment.__wrapped__().from_string("{{ nothing_of_this_name }}")
    with pytest.raises(Exception, match="nothing_of_this_name"):
        template.render()


# -- contrast (WCAG 2.2: 4.5 to 1 for text, 3 to 1 for what a plot is read by)


def palettes() -> dict[str, dict[str, str]]:
    source = files("custodes.scan").joinpath("templates/report.html.j2").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", source, re.DOTALL)
    return dict(
        zip(
            ("light", "dark", "print"),
            (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks),
            strict=True,
        )
    )


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark", "print"])
def test_text_and_plots_can_be_told_from_what_they_stand_on(name: str) -> None:
    colours = palettes()[name]
    texts = [
        ("ink", "card"),
        ("ink", "page"),
        ("soft", "card"),
        ("soft", "page"),
        ("grave", "grave-page"),
        ("warn", "warn-page"),
    ]
    texts += [("ink", "grave-page"), ("ink", "warn-page")]
    for ink, ground in texts:
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for fill in ("examined", "unavailable", "undecodable", "failed", "finding"):
        assert contrast(colours[fill], colours["card"]) >= 3, fill
