r"""Opened incidents as an authority reads them: a page, a table and lines for a terminal.

Promises that nothing which an incident holds is obeyed: on the page it is text (escaped, no script, no link, a policy that allows neither), in the
table no cell is a formula, and nowhere does a control character, a mark of direction or an invisible character get through: they are written out as
``\u{202E}``. These are views: what is cut or written out here is whole in the incidents themselves. Opening is for ``package``.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from custodes.handover.finding import Match, Suspicion
from custodes.handover.incident import GRAVITY, Incident, Place
from custodes.handover.package import Opened

__all__ = [
    "COLUMNS",
    "Index",
    "cell",
    "csv_index",
    "defanged",
    "html_index",
    "summary",
    "suspicion_text",
    "text_index",
    "visible",
]

TEXT_CHARS_MAX: Final = 4_096
"""The rest of a longer text is counted."""

CELL_CHARS_MAX: Final = 20_000
"""A cell of a spreadsheet takes 32,767, and every other character may get an apostrophe."""

PLACES_MAX: Final = 200
"""Places of one incident on the page; the rest is counted, and stands in the table."""

COLUMNS: Final = (
    "verdict", "class", "incident", "decision", "listed_as", "matched_by", "url", "seen_at", "dataset", "file", "row", "row_key",
    "found_at", "fetched_at", "http_status", "outcome", "reason", "final_url", "matches", "md5", "sha1", "sha256", "pdq",
    "image", "rule", "suspicion", "finding", "run", "tool", "environment", "demo", "viewed_by_a_person",
)  # fmt: skip

CLASSES: Final = {
    "csam": "listed as child abuse material",
    "suspected": "listed as suspected",
    "exploitative": "listed as exploitative",
    "ncii": "listed as an intimate image of an adult",
    "unmapped": "listed, in a category that is not understood",
    "": "not listed",
}
BASES: Final = ("same file", "recorded digest", "looks alike", "link listed", "similar only")


@dataclass(frozen=True, slots=True, repr=False)
class Index:
    """What was opened, together. ``packages`` says who reported; without any, the incidents come from bundles of findings, which nobody signed."""

    incidents: tuple[Incident, ...]
    packages: tuple[Opened, ...] = ()
    defang: bool = False

    @property
    def environments(self) -> list[str]:
        """As the reporters say; bundles say none."""
        return sorted({opened.header.about.environment for opened in self.packages})

    @property
    def ordered(self) -> list[Incident]:
        """What is gravest first: what is to be reported, by class, the very file before what looks alike."""
        return sorted(self.incidents, key=_gravity)

    def link(self, url: str) -> str:
        """A link as it is to be shown."""
        return defanged(url) if self.defang else url


def _gravity(incident: Incident) -> tuple[bool, int, int, int, str]:
    rank = incident.suspicion.rank if incident.suspicion else 0
    return (
        incident.decision != "report",
        _class_rank(incident.meaning),
        BASES.index(_basis(incident)),
        rank,
        incident.id,
    )


def _class_rank(meaning: str) -> int:
    return GRAVITY.index(meaning) if meaning in GRAVITY else len(GRAVITY)


def visible(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    r"""Text that does nothing: what does not print, or turns the direction of writing, as ``\u{202E}``; in one line, and no longer than this."""
    shown: list[str] = []
    size = 0
    for number, char in enumerate(text):
        shown.append(char if char.isprintable() else f"\\u{{{ord(char):X}}}")
        size += len(shown[-1])
        if size > chars_max:
            return "".join([*shown[:-1], f" [and {len(text) - number:,} more characters]"])
    return "".join(shown)


def defanged(url: str) -> str:
    """A link that no viewer makes a link of: hxxps://images[.]example/."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url.replace(":", "[:]", 1).replace(".", "[.]")
    return f"{scheme.lower().replace('tt', 'xx', 1)}://{rest.replace('://', '[:]//').replace('.', '[.]')}"


# -- what is said of an incident


def _basis(incident: Incident) -> str:
    """How it matched what it is said to be, in two words of ``BASES``."""
    kinds = {match.kind for match in incident.matches if match.meaning == incident.meaning != ""}
    if incident.exact:
        return BASES[0] if incident.digests else BASES[1]
    if "pdq" in kinds:
        return BASES[2]
    return BASES[3] if kinds else BASES[4]


def _class(incident: Incident) -> str:
    return CLASSES.get(incident.meaning, "listed in a class that this program does not know")


def _sight(incident: Incident) -> str:
    """Whether and when the image was there."""
    seen = [place.fetched_at for place in incident.places if place.seen]
    if not seen:
        return "not seen: known by what the dataset records, and no link gave it"
    return f"{max(seen) or 'in the dataset itself'}, at {len(seen):,} of {_count(len(incident.places), 'place')}"


def _image(incident: Incident) -> str:
    facts = [incident.format, f"{incident.width}x{incident.height}" if incident.width else ""]
    facts.append(f"{incident.size_bytes:,} bytes" if incident.size_bytes else "")
    return ", ".join(fact for fact in facts if fact)


def _match(match: Match) -> str:
    near = f", {match.distance_bits} bits away ({match.form})" if match.kind == "pdq" else ""
    assurance = f", {match.assurance}" if match.assurance else ""
    return (
        f"{match.list} {match.list_version}, entry {match.entry}: {match.kind}{near}, category {match.category or 'not given'}"
        f"{assurance}{'' if match.meaning else ', confirms nothing'}"
    )


def suspicion_text(suspicion: Suspicion) -> str:
    """Why it is shown, in a line."""
    facts = [f"rank {suspicion.rank}, by {suspicion.model}"]
    if suspicion.cosine is not None:
        facts.append(f"cosine {suspicion.cosine:.3f} with the nearest confirmed photo")
    if suspicion.score is not None:
        facts.append(f"score {suspicion.score:.3f} of probe {suspicion.probe}")
    for each in suspicion.measured:
        facts.append(
            f"of {each.judged:,} earlier ones of this sort ({each.slice}) {each.confirmed:,} were confirmed, "
            f"{each.low:.0%} to {each.high:.0%} ({each.basis})"
        )
    return "; ".join(facts)


def _digests(incident: Incident) -> list[tuple[str, str]]:
    seen = [(kind, value) for kind, value in incident.digests.items() if kind != "pdq_quality"]
    return seen + [(f"{kind} recorded", value) for kind, value in incident.recorded.items()]


def _row(place: Place) -> str:
    return f"{place.file} row {place.row}" + (f", key {place.row_key}" if place.row_key else "")


def _fetch(place: Place) -> str:
    """What was there."""
    if place.seen:
        return f"{place.fetched_at or 'in the dataset itself'}: the image"
    if not place.fetched_at:
        return f"not fetched ({place.reason})"
    status = f" (status {place.http_status})" if place.http_status else ""
    return f"{place.fetched_at}: {'another image' if place.outcome == 'examined' else place.reason}{status}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# -- the whole


@dataclass(frozen=True, slots=True)
class Line:
    """A class, with the number of its incidents for each of ``BASES`` and in all."""

    title: str
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """In all."""
        return sum(self.counts)


def _lines(incidents: Sequence[Incident]) -> list[Line]:
    counted = Counter((_class_rank(incident.meaning), _class(incident), _basis(incident)) for incident in incidents)
    titles = sorted({(rank, title) for rank, title, _ in counted})
    return [Line(title, tuple(counted[rank, title, basis] for basis in BASES)) for rank, title in titles]


def _figures(index: Index) -> list[tuple[str, str, str]]:
    incidents = index.incidents
    places = [place for incident in incidents for place in incident.places]
    seen = [place.fetched_at for place in places if place.seen]
    reports = sum(incident.decision == "report" for incident in incidents)
    return [
        ("Incidents", f"{len(incidents):,}", f"{reports:,} reported, {len(incidents) - reports:,} held for a decision"),
        ("Places", f"{len(places):,}", f"rows of {_count(len({place.dataset for place in places}), 'dataset')}"),
        ("Image seen", f"{len(seen):,}", f"of {_count(len(places), 'place')}; elsewhere the link was dead or showed something else"),
        ("Last seen", max(seen, default="")[:10] or "n/a", max(seen, default="") or "no link gave an image that matched"),
    ]  # fmt: skip


def _cautions(index: Index) -> list[tuple[str, str]]:
    found = []
    if "test" in index.environments:
        found.append(("This is a test.", "The reporter made it to try things out. Act on nothing in it."))
    if any(incident.demo for incident in index.incidents):
        found.append(("A demonstration.", "Some of it was sealed to a throw-away authority."))
    if (parts := _parts(index.packages)) > len(index.packages):
        found.append(("This is not all.", f"{len(index.packages)} of {parts} parts were opened."))
    if not index.packages:
        found.append(
            ("Nobody signed this.", "These are bundles of findings. Anybody who has your public key can make one.")
        )
    return found


def _parts(packages: Sequence[Opened]) -> int:
    """How many there are of those that were made together."""
    return sum({(opened.signer, opened.header.about): opened.header.parts for opened in packages}.values())


def _origins(index: Index) -> list[list[tuple[str, str]]]:
    return [
        [
            ("Reporter", f"{about.reporter.name} · {about.reporter.contact}"),
            ("Signed by", f"key {opened.signer.name}, id {opened.signer.key_id.hex()}; checked outside and inside"),
            ("Environment", about.environment.upper()),
            ("Made at", f"{about.made_at}, part {opened.header.part} of {opened.header.parts}"),
            ("Datasets", ", ".join(about.datasets)),
            ("Lists", ", ".join(f"{each.list} {each.version}" for each in about.lists)),
            ("Runs", ", ".join(about.runs)),
            ("Tool", about.tool),
        ]
        for opened in index.packages
        for about in (opened.header.about,)
    ]  # fmt: skip


def html_index(index: Index) -> str:
    """The page, to be written in UTF-8. It asks for nothing from elsewhere, and prints."""
    style = Markup(_style())  # noqa: S704 - our own file
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    incidents = [(incident, _facts(incident), incident.places[:PLACES_MAX]) for incident in index.ordered]
    page: str = (
        _environment()
        .get_template("index.html.j2")
        .render(
            index=index,
            style=style,
            style_digest=digest,
            cautions=_cautions(index),
            figures=_figures(index),
            bases=BASES,
            lines=_lines(index.incidents),
            origins=_origins(index),
            incidents=incidents,
        )
    )
    return page


def _facts(incident: Incident) -> list[tuple[str, list[str], bool]]:
    """Name, lines, and whether they are hashes: what stands above the places of an incident. What is empty is left out."""
    facts = [
        ("Image last seen", [_sight(incident)], False),
        ("First found", [incident.found_at], False),
        ("Matches", [_match(match) for match in incident.matches], False),
        ("Suspicion", [suspicion_text(incident.suspicion)] if incident.suspicion else [], False),
        ("Image", [_image(incident)], False),
        ("Digests", [f"{kind} {value}" for kind, value in _digests(incident)], True),
        ("Decided by", [f"rule {incident.rule}, {incident.tool}; viewed by a person: no"], False),
    ]
    return [(name, lines, code) for name, lines, code in facts if any(lines)]


@cache
def _style() -> str:
    return resources.files("custodes.handover").joinpath("templates/index.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    # Whatever a template prints goes through ``visible`` and is escaped, so that no place in it can be forgotten.
    environment = Environment(
        loader=PackageLoader("custodes.handover"),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup | int) else visible(str(value)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(basis=_basis, class_of=_class, count=_count, row=_row, fetch=_fetch)
    return environment


# -- the table


_LEAD: Final = "=+-@"
# Where a spreadsheet that cuts at another sign than the comma would begin a cell.
_AFTER_CUT: Final = re.compile(r"([;,|][ \"']*)([=+\-@\uFF1D\uFF0B\uFF0D\uFF20])")


def cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe stands before what would begin one, also for one that cuts cells elsewhere."""
    shown = _AFTER_CUT.sub(r"\1'\2", visible(text, CELL_CHARS_MAX))
    first = unicodedata.normalize("NFKC", shown.lstrip(" \"'")[:1]).replace("\N{MINUS SIGN}", "-")[:1]
    return f"'{shown}" if first and first in _LEAD else shown


def csv_index(index: Index) -> str:
    """RFC 4180, one record a place, ``COLUMNS``; the first two are for the authority to fill. Begins with a byte order mark, which spreadsheets want."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for incident in index.ordered:
        for place in incident.places:
            writer.writerow(cell(value) for value in _values(index, incident, place))
    return "\ufeff" + out.getvalue()


def _values(index: Index, incident: Incident, place: Place) -> Iterator[str]:
    own = {
        "verdict": "",
        "class": "",
        "incident": incident.id,
        "listed_as": incident.meaning or "not listed",
        "matched_by": _basis(incident),
        "url": index.link(place.url),
        "final_url": index.link(place.final_url) if place.final_url else "",
        "seen_at": place.fetched_at if place.seen else "",
        "matches": "; ".join(map(_match, incident.matches)),
        "image": _image(incident),
        "suspicion": suspicion_text(incident.suspicion) if incident.suspicion else "",
        "run": place.run_id,
        "environment": ", ".join(index.environments),
        "demo": "yes" if incident.demo else "no",
        "viewed_by_a_person": "no",
    }
    for column in COLUMNS:
        if column in own:
            yield own[column]
        elif column in ("md5", "sha1", "sha256", "pdq"):
            yield incident.digests.get(column, "")
        else:
            yield str(getattr(place, column) if hasattr(place, column) else getattr(incident, column))


# -- the terminal


def text_index(index: Index) -> Iterator[str]:
    """Lines for a terminal: who reports, how many of what, then each incident."""
    yield from summary(index)
    for incident in index.ordered:
        yield ""
        yield from map(visible, _told(index, incident))


def summary(index: Index) -> Iterator[str]:
    """The first lines of it."""
    for origin in _origins(index):
        yield "package"
        yield from (visible(f"  {name:<12} {text}") for name, text in origin)
    for title, text in _cautions(index):
        yield f"CAUTION  {title} {text}"
    places = sum(len(incident.places) for incident in index.incidents)
    yield f"{_count(len(index.incidents), 'incident')} at {_count(places, 'place')}"
    for line in _lines(index.incidents):
        shares = ", ".join(f"{number:,} {basis}" for basis, number in zip(BASES, line.counts, strict=True) if number)
        yield f"  {line.total:>6,}  {line.title} ({shares})"


def _told(index: Index, incident: Incident) -> Iterator[str]:
    yield f"incident {incident.id} ({incident.decision}: {_class(incident)}; {_basis(incident)})"
    for name, lines, _ in _facts(incident):
        for number, line in enumerate(lines):
            yield f"  {'' if number else name:<16} {line}"
    for place in incident.places:
        yield f"  {'place':<16} {index.link(place.url) or 'no link'}"
        yield f"  {'':<16} {place.dataset}, {_row(place)}; finding {place.finding}"
        yield f"  {'':<16} {_fetch(place)}"
        if place.final_url:
            yield f"  {'':<16} redirected to {index.link(place.final_url)}"
