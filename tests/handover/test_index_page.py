"""What incidents hold is shown and never obeyed: on the page, in the table, on a terminal."""

from __future__ import annotations

import csv
import http.server
import io
import re
import shutil
import subprocess
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from jinja2 import Environment, PackageLoader

from custodes.handover import index_page as module
from custodes.handover.finding import Match, Suspicion
from custodes.handover.incident import Incident
from custodes.handover.index_page import (
    COLUMNS,
    Index,
    cell,
    csv_index,
    defanged,
    html_index,
    suspicion_text,
    text_index,
    visible,
)
from custodes.handover.package import About, ListVersion, Opened, Reporter, open_package
from tests.handover.hostile import MARK, hostile_strings
from tests.handover.making import KEYS, SECRET, about, digests_of, finding, incidents, match, packed

HOSTILE = hostile_strings()
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "footer", "section", "article"),
    *("p", "h1", "h2", "dl", "dt", "dd", "div", "span", "b", "strong", "table", "tr", "th", "td"),
}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class"}


def poisoned(text: str, number: int) -> Incident:
    """An incident that says this in every place where a stranger's words can stand."""
    (plain,) = incidents(finding(number, number))
    place = msgspec.structs.replace(
        plain.places[0],
        **dict.fromkeys(
            ("run_id", "dataset", "file", "row_key", "url", "domain", "final_url", "found_at", "fetched_at", "reason"),
            text,
        ),
    )
    fields = dict.fromkeys(("decision", "rule", "meaning", "format", "found_at", "tool"), text)
    said = Match(**dict.fromkeys(("list", "list_version", "entry", "kind", "category", "assurance", "form", "meaning"), text), distance_bits=0)  # fmt: skip
    digests = {"md5": text, "sha1": text, "sha256": text, "pdq": text, text: text}
    return msgspec.structs.replace(
        plain,
        matches=(said,),
        digests=digests,
        places=(place,),
        suspicion=Suspicion(photo=text, rank=1, model=text, score=0.5, probe=text),
        **fields,
    )


def opened(text: str = "x") -> Opened:
    """A package whose reporter says this of itself."""
    whole = open_package(packed(finding(1, 7)), SECRET, KEYS)
    told = About(
        reporter=Reporter(name=text or "x", contact=text or "x"),
        environment="test",
        made_at="2026-03-02T09:00:00+00:00",
        tool=text,
        runs=(text,),
        datasets=(text,),
        lists=(ListVersion(list=text, version=text),),
    )
    return whole._replace(header=msgspec.structs.replace(whole.header, about=told))


POISONED = Index(tuple(poisoned(text, number) for number, text in enumerate(HOSTILE)))
SOURCES = Index((), tuple(opened(text) for text in HOSTILE))


@cache
def poisoned_page() -> str:
    return html_index(POISONED)


def test_there_are_at_least_500_of_them_and_all_sorts() -> None:
    assert len(HOSTILE) >= 500
    assert any("\ud800" in text for text in HOSTILE)


# -- the page


class Reader(HTMLParser):
    """Counts what a browser would see as markup."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.parts: list[str] = []
        self.comments = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments += 1


def strange_markup(page: str) -> set[str]:
    """Elements and attributes that no page of ours has."""
    found = Reader(page)
    return (set(found.tags) - TAGS) | (found.attributes - ATTRIBUTES)


def control_characters(text: str) -> set[str]:
    return {char for char in text if char not in "\n\ufeff" and not char.isprintable()}


@pytest.mark.parametrize("make", [poisoned_page, lambda: html_index(SOURCES)], ids=["incidents", "reporters"])
def test_nothing_on_the_page_is_markup_of_a_stranger(make: Callable[[], str]) -> None:
    page = make()
    assert strange_markup(page) == set()
    assert Reader(page).comments == 0
    assert control_characters(page) == set()
    assert page.count("<style>") == page.count("</style>") == page.count("<title>") == 1
    page.encode()


def test_planted_without_escaping_the_markup_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    unescaped(monkeypatch)
    few = Index(tuple(poisoned(text, 1) for text in HOSTILE[:20]))
    assert {"script", "onerror"} <= strange_markup(html_index(few))


def test_planted_without_making_visible_control_characters_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    module._environment.cache_clear()
    monkeypatch.setattr(module, "visible", lambda text, _=0: str(text))
    assert {"\x1b", "\u202e", "\x00"} <= control_characters(html_index(POISONED))
    module._environment.cache_clear()


def unescaped(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Environment(loader=PackageLoader("custodes.handover"), trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(module._environment().globals)
    monkeypatch.setattr(module, "_environment", lambda: environment)


def test_what_strangers_say_is_still_to_be_read() -> None:
    shown = "".join(Reader(poisoned_page()).parts)
    for text in HOSTILE:
        if text.strip():
            assert visible(text) in shown


def test_the_page_asks_for_nothing_and_links_to_nothing() -> None:
    page = html_index(Index(tuple(incidents(finding(1, 7)))))
    assert "default-src 'none'" in page
    assert "unsafe" not in page
    assert not re.search(r"<(a|img|script|link|iframe|form|svg)\b|\b(src|href|style|on\w+)=|@import|url\(", page)


def chromium() -> str:
    """The browser. Skips, loudly, where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("NO CHROMIUM: what a browser makes of hostile pages was not tested")
    return found


def shown_by(browser: str, path: Path) -> str:
    """The document after its scripts, if any, had their time."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    home = f"--user-data-dir={path.parent / 'browser'}"
    ended = subprocess.run([browser, *options, home, path.as_uri()], capture_output=True, timeout=60, check=True)
    return ended.stdout.decode()


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback, and what was asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.timeout(150)
def test_no_script_runs_in_a_browser_and_none_would_were_escaping_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = chromium()
    with listening() as (base, asked):
        calls = [
            f'<img src="{base}/picture">',
            f'<link rel=stylesheet href="{base}/style">',
            f"<script>{MARK}</script>",
        ]
        calls += [f'<style>body{{background:url("{base}/ground")}}</style>', f"<img src=x onerror={MARK}>"]
        few = Index(tuple(poisoned(text, number) for number, text in enumerate(calls)))
        path = tmp_path / "index.html"

        def runs(page: str) -> bool:
            path.write_text(page, encoding="utf-8")
            root = re.search(r"<html[^>]*>", shown_by(browser, path))
            return root is not None and "data-ran" in root[0]

        assert not runs(poisoned_page())
        unescaped(monkeypatch)
        bare = html_index(few)
        assert not runs(bare)  # the policy alone holds
        assert asked == []
        open_page = re.sub(r"<meta http-equiv=[^>]*>", "", bare)
        assert runs(open_page)  # planted: neither escaping nor policy
        assert "/picture" in asked


# -- the table


def cells(table: str, delimiter: str = ",") -> list[list[str]]:
    csv.field_size_limit(1 << 30)  # cut where it should not be, a cell may be long
    return list(csv.reader(io.StringIO(table.removeprefix("\ufeff"), newline=""), delimiter=delimiter))


def formulas(table: str) -> list[str]:
    """Cells that a spreadsheet would take for formulas, wherever it cuts."""
    found = []
    for delimiter in ",;\t|":
        for row in cells(table, delimiter):
            for text in row:
                first = unicodedata.normalize("NFKC", text.strip(' "\t\r\n\u00a0\ufeff')[:1])
                if first and first[0] in "=+-@\u2212":
                    found.append(text)
    return found


def test_no_cell_is_a_formula_and_no_character_controls() -> None:
    table = csv_index(POISONED)
    assert formulas(table) == []
    rows = cells(table)
    assert len(rows) == len(HOSTILE) + 1
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert control_characters("".join(text for row in rows for text in row)) == set()
    assert max(len(text) for row in rows for text in row) <= 32_767
    table.encode()


def test_lines_end_as_the_standard_says_and_only_there() -> None:
    table = csv_index(POISONED)
    assert table.count("\r\n") == table.count("\n") == table.count("\r") == len(HOSTILE) + 1


def test_planted_without_the_apostrophe_formulas_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cell", visible)
    assert len(formulas(csv_index(POISONED))) > 100
    monkeypatch.setattr(module, "cell", str)
    with pytest.raises(UnicodeEncodeError):
        csv_index(POISONED).encode()


CELLS: dict[str, tuple[str, str]] = {
    "plain": ("a b", "a b"),
    "empty": ("", ""),
    "a formula": ("=1+1", "'=1+1"),
    "a sum": ("+1", "'+1"),
    "a number below zero": ("-1", "'-1"),
    "a call": ("@SUM(1)", "'@SUM(1)"),
    "behind spaces": ("  =1", "'  =1"),
    "behind a tab": ("\t=1", "\\u{9}=1"),
    "behind a quote": ('"=1', "'\"=1"),
    "in full width": ("\uff1d1", "'\uff1d1"),
    "a real minus": ("\u22121", "'\u22121"),
    "behind another cut": ("a;=1", "a;'=1"),
    "behind as many cuts as fit": (";=" * 10_001, ";'=" * 10_000 + " [and 2 more characters]"),
    "in the middle": ("a=1", "a=1"),
    "a link": ("https://images.example/?a=1;b=-2", "https://images.example/?a=1;b=-2"),
}


@pytest.mark.parametrize("case", CELLS)
def test_a_cell_is_changed_only_where_it_must_be(case: str) -> None:
    text, expected = CELLS[case]
    assert cell(text) == expected


# -- the terminal


@pytest.mark.parametrize("index", [POISONED, SOURCES], ids=["incidents", "reporters"])
def test_no_line_controls_a_terminal(index: Index) -> None:
    lines = list(text_index(index))
    assert control_characters("".join(lines)) == set()
    assert len(lines) < 40 * len(HOSTILE)


def test_planted_without_making_visible_a_terminal_would_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "visible", lambda text, _=0: str(text))
    assert "\x1b" in control_characters("".join(text_index(POISONED)))


VISIBLE: dict[str, tuple[str, str]] = {
    "plain": ("schön", "schön"),
    "an escape": ("\x1b[2J", "\\u{1B}[2J"),
    "a turn": ("\u202egpj", "\\u{202E}gpj"),
    "half a character": ("\ud800", "\\u{D800}"),
    "a line": ("a\nb", "a\\u{A}b"),
    "at the limit": ("a" * 4096, "a" * 4096),
    "one more": ("a" * 4097, "a" * 4096 + " [and 1 more characters]"),
    "written out, at the limit": ("\0" * 819, "\\u{0}" * 819),
    "written out, one more": ("\0" * 820, "\\u{0}" * 819 + " [and 1 more characters]"),
}


@pytest.mark.parametrize("case", VISIBLE)
def test_what_would_not_be_seen_is_written_out(case: str) -> None:
    text, expected = VISIBLE[case]
    assert visible(text) == expected


DEFANGED: dict[str, tuple[str, str]] = {
    "http": ("http://images.example/a.jpg", "hxxp://images[.]example/a[.]jpg"),
    "https": ("HTTPS://images.example/", "hxxps://images[.]example/"),
    "a link in a link": ("https://a.example/?u=http://b.example", "hxxps://a[.]example/?u=http[:]//b[.]example"),
    "no scheme": ("images.example/a", "images[.]example/a"),
    "another scheme": ("mailto:a@b.example", "mailto[:]a@b[.]example"),
    "none": ("", ""),
}


@pytest.mark.parametrize("case", DEFANGED)
def test_a_defanged_link_is_none(case: str) -> None:
    url, expected = DEFANGED[case]
    assert defanged(url) == expected


def test_links_are_defanged_everywhere_or_nowhere() -> None:
    found = tuple(incidents(finding(1, 7, final_url="https://mirror.example/2.jpg")))
    for show in (html_index, csv_index, lambda index: "\n".join(text_index(index))):
        whole, without = show(Index(found)), show(Index(found, defang=True))
        assert whole.count("https://") == without.count("hxxps://") == 2
        assert "https://" not in without


# -- what is told


BASIS = {
    "the file is listed": (finding(1, 7), "same file"),
    "its recorded digest is listed, the link is dead": (finding(1), "recorded digest"),
    "another image is there": (finding(1, digests=digests_of(9), outcome="examined"), "recorded digest"),
    "it looks alike": (finding(1, 7, matches=(match(1, "pdq", distance_bits=9),)), "looks alike"),
    "its link is listed": (finding(1, matches=(match(1, "url/raw-md5"),)), "link listed"),
    "a suspicion": (finding(1, 7, matches=(), suspicion=Suspicion(photo="p", rank=1, model="m")), "similar only"),
}


@pytest.mark.parametrize("case", BASIS)
def test_how_it_matched_is_told_apart(case: str) -> None:
    told, expected = BASIS[case]
    row = dict(zip(COLUMNS, cells(csv_index(Index(tuple(incidents(told)))))[1], strict=True))
    assert row["matched_by"] == expected
    assert row["viewed_by_a_person"] == "no"


def test_the_first_lines_say_how_many_of_what_and_the_gravest_comes_first() -> None:
    held = finding(5, 9, matches=(match(9, meaning="ncii"),), decision="hold")
    near = finding(4, 8, matches=(match(1, "pdq", distance_bits=9),))
    whole = open_package(packed(held, near, finding(1, 7), finding(2, 7), finding(3)), SECRET, KEYS)
    index = Index(tuple(whole.incidents), (whole,))
    lines = list(text_index(index))
    assert lines[1] == "  Reporter     Example Lab · safety@lab.example"
    assert "  Environment  PRODUCTION" in lines
    assert lines[lines.index("4 incidents at 5 places") + 1 :][:2] == [
        "       3  listed as child abuse material (1 same file, 1 recorded digest, 1 looks alike)",
        "       1  listed as an intimate image of an adult (1 same file)",
    ]
    said = [line for line in lines if line.startswith("incident ")]
    assert [line.rpartition("; ")[2] for line in said] == [
        "same file)",
        "recorded digest)",
        "looks alike)",
        "same file)",
    ]
    assert "CAUTION" not in "".join(lines)


CAUTIONS = {
    "a test": (Index((), (opened(),)), "This is a test."),
    "unsigned": (Index(tuple(incidents(finding(1)))), "Nobody signed this."),
    "a demonstration": (Index((msgspec.structs.replace(incidents(finding(1))[0], demo=True),)), "A demonstration."),
    "a part": (
        Index((), (opened()._replace(header=msgspec.structs.replace(opened().header, parts=2)),)),
        "1 of 2 parts",
    ),
}


@pytest.mark.parametrize("case", CAUTIONS)
def test_what_one_must_know_first_stands_first(case: str) -> None:
    index, words = CAUTIONS[case]
    assert words in html_index(index)
    assert any("CAUTION" in line and words in line for line in text_index(index))


SIGHT = {
    "seen": (finding(1, 7), "2026-03-01T11:59:00Z, at 1 of 1 place", "2026-03-01T11:59:00Z: the image"),
    "in an archive": (
        finding(1, 7, fetched_at="", http_status=0),
        "in the dataset itself, at 1 of 1 place",
        "in the dataset itself: the image",
    ),
    "not fetched": (finding(1), "not seen", "not fetched (http_404)"),
    "gone": (finding(1, fetched_at="2026-03-01T11:00:00Z"), "not seen", "2026-03-01T11:00:00Z: http_404 (status 404)"),
    "another image": (
        finding(1, fetched_at="2026-03-01T11:00:00Z", outcome="examined", http_status=200, digests=digests_of(9)),
        "not seen",
        "2026-03-01T11:00:00Z: another image (status 200)",
    ),
}


@pytest.mark.parametrize("case", SIGHT)
def test_whether_the_image_was_there_and_when_is_said(case: str) -> None:
    told, sight, fetch = SIGHT[case]
    text = "\n".join(text_index(Index(tuple(incidents(told)))))
    assert f"Image last seen  {sight}" in text
    assert fetch in text


def test_a_long_incident_is_cut_on_the_page_and_whole_in_the_table() -> None:
    for places, more in ((200, False), (201, True)):
        index = Index(tuple(incidents(*(finding(number, 7) for number in range(places)))))
        assert ("and 1 more place:" in html_index(index)) is more
        assert len(cells(csv_index(index))) == places + 1


def test_a_suspicion_says_how_sure_others_like_it_were() -> None:
    suspicion = Suspicion(photo="p", rank=3, model="m", cosine=0.9, probe="q", score=0.5)
    assert (
        suspicion_text(suspicion)
        == "rank 3, by m; cosine 0.900 with the nearest confirmed photo; score 0.500 of probe q"
    )


def test_an_index_prints_nothing_of_what_it_holds() -> None:
    assert "images.example" not in repr(Index(tuple(incidents(finding(1)))))
    assert about().environment == "production"
