"""How a run is put into words: reasons, outcomes, cautions, and numbers that people read. The page and the terminal share it.

Promises that every reason has a plain sentence, that no rounding hides a row ("<0.1 %", ">99.9 %"), that foreign text is made visible and short, and
that nothing is ever called clean. Leaves layout to ``html`` and ``summary``, and escaping for HTML to the template.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from custodes.model import REASONS, OutcomeName, Reason
from custodes.scan.report import RunReport
from custodes.scan.similar_runs import Told

__all__ = [
    "OUTCOMES",
    "PASSING",
    "REASON_WORDS",
    "TEXT_CHARS_MAX",
    "UNEXAMINED_WARNING_SHARE",
    "Caution",
    "Words",
    "cautions",
    "count",
    "count_of",
    "duration",
    "percent",
    "reason_counts",
    "short_key",
    "size",
    "unexamined_rows",
    "visible",
]

UNEXAMINED_WARNING_SHARE: Final = 0.5
"""Above this share of rows out of reach a report warns. About a third of the links of an old web crawl are dead, which is ordinary."""

TEXT_CHARS_MAX: Final = 300
"""Longer names of datasets, lists and so on are cut in the middle where people read them; the JSON keeps them whole."""


class Words(NamedTuple):
    """A reason in a few words, for charts and columns, and in a sentence."""

    label: str
    sentence: str


OUTCOMES: Final[dict[OutcomeName, str]] = {
    OutcomeName.EXAMINED: "The image was decoded and digested, or the digest that the dataset records was compared.",
    OutcomeName.UNAVAILABLE: "The image could not be had. At most the digest that the dataset records was compared.",
    OutcomeName.UNDECODABLE: "The bytes were there and were compared exactly, but no decoder could make an image of them.",
    OutcomeName.FAILED: "The examination itself went wrong, which says nothing of the image.",
}
"""What each outcome means, as a sentence."""

REASON_WORDS: Final[dict[Reason, Words]] = {
    Reason.FULL: Words("Examined in full", "The whole image was decoded and digested."),
    Reason.PARTIAL_DAMAGED: Words(
        "Damaged, examined in part", "Part of the image was missing or damaged; what was left was decoded and digested."
    ),
    Reason.PARTIAL_FRAMES: Words(
        "Animation, some frames", "The animation has more frames than the limits allow; some of them were digested."
    ),
    Reason.COLUMNS_ONLY: Words(
        "Recorded digest only",
        "Only the digest that the dataset records was compared; the image itself was not looked at.",
    ),
    Reason.NO_URL: Words("No link", "The row holds no link."),
    Reason.BAD_URL: Words("Not a link", "What stands in place of the link is not a valid URL."),
    Reason.BLOCKED_SCHEME: Words("Scheme not allowed", "The link is neither http nor https."),
    Reason.BLOCKED_PORT: Words("Port not allowed", "The link names a port that is not on the list of allowed ports."),
    Reason.BLOCKED_ADDRESS: Words(
        "Address not public", "The link leads to a private or reserved address, which is never asked."
    ),
    Reason.BLOCKED_USERINFO: Words(
        "Link with a password", "The link carries a user name or password, which is never sent."
    ),
    Reason.DNS: Words("Host name unknown", "The name of the host could not be resolved."),
    Reason.REFUSED: Words("Connection refused", "The host refused the connection."),
    Reason.RESET: Words("Connection reset", "The host broke the connection off."),
    Reason.UNREACHABLE: Words("Host unreachable", "There was no route to the host."),
    Reason.CONNECT_TIMEOUT: Words("No connection in time", "The host did not take the connection in time."),
    Reason.TIMEOUT: Words("No answer in time", "The answer was not complete in the time allowed."),
    Reason.TOO_SLOW: Words("Too slow", "The answer came more slowly than the limit allows."),
    Reason.TLS: Words(
        "TLS failed", "No trusted encrypted connection could be made, for example because the certificate has expired."
    ),
    Reason.PROTOCOL: Words("Not proper HTTP", "The answer broke the rules of HTTP."),
    Reason.HTTP_401: Words("401 login required", "The server asked for a login."),
    Reason.HTTP_403: Words("403 forbidden", "The server refused to give the image out."),
    Reason.HTTP_404: Words("404 not found", "The server says that there is nothing under this link."),
    Reason.HTTP_410: Words("410 gone", "The server says that the image was removed for good."),
    Reason.HTTP_429: Words("429 too many requests", "The server asked us to slow down, and retries did not help."),
    Reason.HTTP_451: Words("451 legal reasons", "The server withholds the image for legal reasons."),
    Reason.HTTP_4XX: Words("Other 4xx status", "The server rejected the request with another 4xx status."),
    Reason.HTTP_5XX: Words("5xx server error", "The server reported an error of its own."),
    Reason.HTTP_OTHER: Words("Unexpected status", "The server answered with a status that gives no image."),
    Reason.REDIRECT_LIMIT: Words("Too many redirects", "The link was redirected more often than the limit allows."),
    Reason.REDIRECT_BAD: Words("Bad redirect", "The link was redirected to somewhere that is not a usable link."),
    Reason.TOO_LARGE: Words("Too large", "The image has more bytes than the limit allows."),
    Reason.TRUNCATED: Words("Cut short", "The answer ended before it was complete."),
    Reason.EMPTY: Words("Empty", "There were no bytes."),
    Reason.ENCODED: Words(
        "Unreadable compression", "The answer was compressed in a way that was not asked for and is not read."
    ),
    Reason.NOT_IMAGE: Words("Not an image", "Something came back, such as a web page, but no image."),
    Reason.ROBOTS: Words(
        "Disallowed by robots.txt", "The site's robots.txt asks not to fetch it, and this run was told to obey."
    ),
    Reason.NOAI: Words(
        "Site opts out of AI use", "The site asks that its images are not used for AI, and this run was told to obey."
    ),
    Reason.NO_DIGEST: Words(
        "Nothing to compare", "The dataset records no digest for the row, and this run did not fetch images."
    ),
    Reason.UNKNOWN_FORMAT: Words("Unknown format", "The bytes are in no image format that is read here."),
    Reason.BROKEN: Words("Broken image", "Neither decoder could make an image of the bytes."),
    Reason.TOO_MANY_PIXELS: Words("Too many pixels", "The image has more pixels than the limit allows."),
    Reason.TOO_MANY_SCANS: Words(
        "Too many scans",
        "The image has more progressive scans than the limit allows; such files are made to stall decoders.",
    ),
    Reason.DECODE_TIMEOUT: Words("Decoding took too long", "Decoding was not finished in the time allowed."),
    Reason.DECODE_MEMORY: Words("Decoding took too much memory", "Decoding needed more memory than the limit allows."),
    Reason.DECODER_DIED: Words("Decoder ended", "The confined decoder ended on this image."),
    Reason.MALFORMED_ROW: Words("Malformed row", "The row of the dataset could not be read as a row."),
    Reason.READ_ERROR: Words("Could not be read", "The image could not be read from the dataset's files."),
    Reason.CARRIER_DIED: Words("Fetching process ended", "The process that fetches and decodes ended on this row."),
    Reason.INTERNAL: Words("Error in custodes", "An error in custodes itself; please report it."),
}

PASSING: Final = frozenset(
    {
        Reason.DNS,
        Reason.REFUSED,
        Reason.RESET,
        Reason.UNREACHABLE,
        Reason.CONNECT_TIMEOUT,
        Reason.TIMEOUT,
        Reason.TOO_SLOW,
        Reason.TLS,
        Reason.TRUNCATED,
        Reason.HTTP_429,
        Reason.HTTP_5XX,
        Reason.CARRIER_DIED,
        Reason.INTERNAL,
    }
)
"""Reasons that may be gone the next time, so that trying again is worth proposing."""


FILES_MAX: Final = 8


@dataclass(frozen=True)
class Caution:
    """Something a reader must know before the figures. ``grave``: the figures must not be taken for those of a real, finished run."""

    title: str
    text: str
    grave: bool = False


def cautions(report: RunReport, warning_share: float = UNEXAMINED_WARNING_SHARE) -> list[Caution]:
    """Everything to be said loudly of a run, gravest first. A run above ``warning_share`` of rows not examined is told so."""
    said = [*_grave(report), *_unfinished(report), *_stale(report), *_flooded(report)]
    said += _similar(report.similar) if report.similar else [*_out_of_reach(report, warning_share), *_limits(report)]
    return sorted(said, key=lambda caution: not caution.grave)


def _grave(report: RunReport) -> list[Caution]:
    said = []
    if report.demo_authority:
        text = "Findings are sealed to a demonstration key, not to an authority. This run must not be taken for one with real lists."
        said.append(Caution("Demonstration only", text, grave=True))
    if report.unsafe:
        options = ", ".join(visible(name) for name in report.unsafe[:20])
        said.append(
            Caution(
                "Unsafe options were in use",
                f"A guard was switched off with {options}. Do not publish this run.",
                grave=True,
            )
        )
    if not report.lists:
        said.append(
            Caution("No list was used", "Nothing was compared with anything, so nothing could be found.", grave=True)
        )
    return said


def _unfinished(report: RunReport) -> list[Caution]:
    said = []
    if not report.complete or report.shards_planned > report.shards:
        left = (
            f"The {count(report.rows_planned - report.rows)} rows left"
            if report.rows_planned > report.rows
            else "The rows left"
        )
        done = f"{count(report.shards)} of {count_of(report.shards_planned, 'shard')} are done."
        said.append(
            Caution("This run is not finished", f"{done} {left} have not been looked at and are in no figure here.")
        )
    if report.failures:
        text = "Part of the work was given up. Start the same command again to try it once more."
        said.append(Caution(f"This run met {count_of(len(report.failures), 'failure')}", text))
    return said


def _stale(report: RunReport) -> list[Caution]:
    text = (
        "It is older than its limit: what its authority added since was not looked for, and what was withdrawn may have matched. "
        "Sync it and match again."
    )
    return [
        Caution(f"List {visible(name, 60)} was stale: last confirmed {visible(since, 60) or 'never'}", text)
        for name, since in sorted(report.stale_lists.items())[:20]
    ]


def _flooded(report: RunReport) -> list[Caution]:
    text = (
        "Where a list matches so great a share of a shard, it is more likely mistaken or tampered with than right. These rows are sealed "
        "as held, not reported. Ask who made the list before anything is reported because of it."
    )
    counts = sorted(report.findings_flooded.items(), key=lambda pair: (-pair[1], pair[0]))
    return [
        Caution(f"List {visible(name, 60)} matched too much: {count_of(rows, 'row')} held", text)
        for name, rows in counts[:20]
    ]


def _out_of_reach(report: RunReport, warning_share: float) -> list[Caution]:
    if not report.rows:
        return [Caution("No row was examined", "There is nothing that this run could say about the dataset.")]
    if report.unexamined_share <= warning_share:
        return []
    text = f"{count(unexamined_rows(report))} of {count(report.rows)} rows were not examined. Of these, at most a digest was compared."
    return [Caution(f"{percent(unexamined_rows(report), report.rows)} of the rows were out of reach", text)]


def _limits(report: RunReport) -> list[Caution]:
    said = []
    if failed := report.outcomes.get(OutcomeName.FAILED, 0):
        said.append(
            Caution(f"The examination of {count_of(failed, 'row')} went wrong", "The reasons are among those below.")
        )
    if report.not_items:
        text = "Files in the dataset that are no images by name or content, such as captions and videos, are in no figure here."
        said.append(Caution(f"{count_of(report.not_items, 'file')} left aside", text))
    if report.passes and "bytes" not in report.passes:
        said.append(
            Caution(
                "No image was looked at",
                "Only digests that the dataset itself records were compared; whether they are right was not checked.",
            )
        )
    return said


def _similar(told: Told) -> list[Caution]:
    said = []
    if away := told.rows - told.scored:
        text = "Nothing was found among them, and nothing could be."
        said.append(Caution(f"{count_of(away, 'row')} without a vector that says anything", text))
    if told.drift:
        named = [f"{visible(str(each['file']), 60)} ({each['stability_index']})" for each in told.drift]
        more = f" and {count(len(named) - FILES_MAX)} more" if len(named) > FILES_MAX else ""
        text = (
            f"Scores there differ from those of all other files: {', '.join(named[:FILES_MAX])}{more}. What precision was measured elsewhere "
            "may not hold there. Are these vectors of the same model, and of the same kind of pictures?"
        )
        said.append(Caution(f"Scores drift in {count_of(len(told.drift), 'file')} of vectors", text))
    return said


def unexamined_rows(report: RunReport) -> int:
    """Rows done that were not examined."""
    return sum(rows for outcome, rows in report.outcomes.items() if outcome is not OutcomeName.EXAMINED)


def reason_counts(reasons: Mapping[Reason, int], outcome: OutcomeName) -> list[tuple[Reason, int]]:
    """The reasons of one outcome, most common first; a plain full examination is left out."""
    found = [
        (reason, reasons[reason]) for reason in REASONS[outcome] if reasons.get(reason) and reason is not Reason.FULL
    ]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


# -- numbers and names


def count(number: int) -> str:
    """A whole number with separators: 5,526,641,167."""
    return f"{number:,}"


def count_of(number: int, noun: str) -> str:
    """A number with its noun: "1 row", "2 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def percent(part: int, whole: int, digits: int = 1) -> str:
    """A share in words. Rounding never makes something nothing, nor nearly all all."""
    if whole <= 0:
        return "n/a"
    if part in (0, whole):
        return "100 %" if part else "0 %"
    text, least = f"{100 * part / whole:.{digits}f}", 10**-digits
    if float(text) == 0:
        return f"<{least:.{digits}f} %"
    if part < whole and float(text) >= 100:
        return f">{100 - least:.{digits}f} %"
    return f"{text} %"


def size(size_bytes: int) -> str:
    """An amount of data in decimal units: 1.2 TB."""
    amount = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 99.5 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} PB"


def duration(seconds: float, parts: int = 2) -> str:
    """A length of time in its ``parts`` largest units: 3 h 12 min."""
    found: list[tuple[int, str]] = []
    left = max(0, int(seconds))
    for name, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, left = divmod(left, length)
        if amount or found:
            found.append((amount, name))
    return " ".join(f"{amount} {name}" for amount, name in found[:parts] if amount) or "under 1 s"


def short_key(recipient: str) -> str:
    """A public key, short enough to compare by eye: its first 12 characters and its last 6."""
    return recipient if len(recipient) <= 24 else f"{recipient[:12]}…{recipient[-6:]}"


def visible(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    r"""Foreign text as people may see it: cut in the middle past ``chars_max``, and what does not print or turns the direction of writing as ``\u202e``.

    Format characters (Unicode category Cf) can make a name look like another one (Unicode TR 36), so they are shown, not obeyed.
    """
    if len(text) > chars_max:
        half = (chars_max - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return "".join(char if _is_plain(char) else _escaped(char) for char in text)


def _is_plain(char: str) -> bool:
    return char == " " or unicodedata.category(char)[0] not in "CZ"


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
