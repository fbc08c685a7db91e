"""What a card says, as sections of facts in words. Every rendering that people read is made of these.

Promises that what comes from elsewhere (names of datasets, lists, files; sentences of the signer) is marked as ``Told``, so that each writer escapes it; that a
count below the floor is told as "fewer than"; and that nothing is said of a dataset that the card does not say. Escaping and layout are for the writers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from custodes.attest.statement import Detector, ListCommitment, Matches, Measure
from custodes.model import REASONS, OutcomeName, Reason
from custodes.rendering.card import Card
from custodes.scan.wording import OUTCOMES, REASON_WORDS, TEXT_CHARS_MAX, count, count_of, percent, reason_counts

__all__ = [
    "FILES_MAX",
    "HOW_TO_VERIFY",
    "TITLE",
    "Fact",
    "Line",
    "Section",
    "Told",
    "about",
    "after_about",
    "coverage",
    "detectors",
    "files",
    "lists",
    "matched",
    "matches",
    "outcomes",
    "reasons",
    "shows_not",
    "verifying",
    "work",
    "written",
]

TITLE: Final = "What was examined"
FILES_MAX: Final = 40
"""Files that are named where people read; the card has them all."""
SENTENCE_CHARS_MAX: Final = 1000
"""A sentence on a card has no more characters, so that none is cut."""

HOW_TO_VERIFY: Final = (
    "This is a rendering. What counts is the card, the file with the SHA-256 given here, which is published beside it: "
    "verify that one with the signer's key, got from the signer by a way that you trust."
)
COMMAND: Final = "custodes verify CARD --key FILE"


@dataclass(frozen=True)
class Told:
    """Text from elsewhere. Past ``chars_max`` it is cut in the middle."""

    text: str
    chars_max: int = TEXT_CHARS_MAX


Line = tuple[str | Told, ...]


@dataclass(frozen=True)
class Fact:
    """A name, and what is said of it. ``share`` (0 to 1): of a whole that can be drawn; ``kind``: what of."""

    name: str | Told
    lines: tuple[Line, ...]
    share: float | None = None
    kind: str = "examined"


@dataclass(frozen=True)
class Section:
    """Facts under a heading, after sentences."""

    heading: str
    says: tuple[Line, ...] = ()
    facts: tuple[Fact, ...] = ()


def about(card: Card) -> Section:
    """Of which dataset, by whom, when."""
    told = card.told
    return Section(
        TITLE,
        facts=(
            Fact("Dataset", ((Told(told.dataset),),)),
            Fact("Rows", ((count(told.rows), "" if told.complete else ", of a run that was not finished"),)),
            Fact("Run", ((Told(told.run), ", begun ", Told(told.began)),)),
            Fact("Signed", ((Told(told.signed), ", by ", Told(card.signer)),)),
            Fact("Tool", ((Told(f"{told.tool.name} {told.tool.version}"),),)),
            Fact("Card", (("SHA-256 ", Told(card.sha256)),)),
        ),
    )


def outcomes(card: Card) -> Section:
    """How the examination of the rows ended: all four outcomes, always."""
    facts = tuple(
        Fact(name.value, ((_rows(rows, card.told.rows),), (OUTCOMES[name],)), rows / max(card.told.rows, 1), name.value)
        for name in OutcomeName
        for rows in (card.told.outcomes[name],)
    )
    return Section("How the examination ended", (("Every row has exactly one outcome.",),), facts)


def reasons(card: Card) -> Section:
    """Why rows were not examined, or not in full; most common first."""
    facts = []
    for outcome in (each for each in OutcomeName if REASONS[each]):
        whole = max(card.told.outcomes[outcome], 1)
        facts += [
            Fact(
                REASON_WORDS[reason].label, ((f"{_rows(rows, whole)} of the {outcome.value}",),), rows / whole, outcome
            )
            for reason, rows in reason_counts(card.told.reasons, outcome)
        ]
    full = card.told.reasons.get(Reason.FULL, 0)
    return Section("Reasons", ((f"{count_of(full, 'row')} examined in full; of the others:",),), tuple(facts))


def matches(card: Card) -> Section:
    """Rows that matched, as far as it may be told."""
    told = card.told
    facts = [Fact("Rows that matched", ((matched(told.matches),),))]
    facts += [
        Fact(Told(name), ((f"{matched(rows)}, on this list",),)) for name, rows in sorted(told.matches_by_list.items())
    ]
    note = "Matches are counts. Fewer than a number may be none. Which rows matched is sealed to the authority, and is on no card."
    return Section("Matches", ((note,),), tuple(facts))


def matched(rows: Matches) -> str:
    """A count as it may be told."""
    return count_of(rows.rows, "row") if rows.rows is not None else f"fewer than {count(rows.below or 0)} rows"


def coverage(card: Card) -> Section:
    """How many rows each pass compared."""
    told = card.told
    facts = tuple(
        Fact(Told(name), ((_rows(rows, told.rows),),), rows / max(told.rows, 1))
        for name, rows in sorted(told.coverage.items())
    )
    return Section("What each pass compared", (("A row can be compared in several passes.",),), facts)


def lists(card: Card) -> Section:
    """What was compared with."""
    return Section("Lists", (), tuple(Fact(Told(used.id), tuple(_list_lines(used))) for used in card.told.lists))


def _list_lines(used: ListCommitment) -> Iterator[Line]:
    yield "version ", Told(used.version)
    if used.holder:
        yield "made by ", Told(used.holder)
    if used.stale_since:
        yield "past its age when the run began: last confirmed ", Told(used.stale_since)


def detectors(card: Card) -> Section:
    """What found images that are on no list byte by byte, where it comes from, and what it is worth."""
    note = "What finds images that are on no list byte by byte." if card.told.detectors else "None was used."
    return Section(
        "Detectors", ((note,),), tuple(Fact(Told(each.name), tuple(_origin(each))) for each in card.told.detectors)
    )


def _origin(used: Detector) -> Iterator[Line]:
    yield used.kind, ", version ", Told(used.version)
    for words, text in (("from ", used.origin), ("trained on ", used.training_data), ("licence ", used.licence)):
        if text:
            yield words, Told(text, SENTENCE_CHARS_MAX)
    for text in used.known_findings:
        yield "known of it: ", Told(text, SENTENCE_CHARS_MAX)
    for each in used.measured:
        yield _measure(each)
    if not used.measured:
        yield ("its precision and recall were not measured by the signer",)


def _measure(each: Measure) -> Line:
    worth = f"{each.of} {each.value:.4g} ({each.low:.4g} to {each.high:.4g} with a confidence of 95 %) in {count_of(each.on, 'case')}, at "
    return worth, Told(each.at), ", measured on ", Told(each.what, SENTENCE_CHARS_MAX)


def written(card: Card) -> Section | None:
    """The dataset that was written again, where it was."""
    if (told := card.told.cleaned) is None:
        return None
    crowd = f"Of the rows that left at most one in {count(told.crowd)} matched. Why a row left is not told."
    facts = (
        Fact("Rows that left", ((_rows(told.left, told.rows),),)),
        Fact("Files", ((f"{count_of(told.files, 'file')}, each named on the card by its SHA-256",),)),
    )
    return Section("The dataset as it was written again", ((crowd,),), facts)


def files(card: Card) -> Section:
    """The first files, and how many more there are."""
    subjects = card.statement.subject
    facts = tuple(
        Fact(Told(each.name), tuple((f"{name} ", Told(digest)) for name, digest in sorted(each.digest.items())))
        for each in subjects[:FILES_MAX]
    )
    left = len(subjects) - len(facts)
    more = (
        f"{count_of(left, 'more file')}: the card names them all."
        if left
        else "These are all files that the card names."
    )
    return Section("Files", ((more,),), facts)


def work(card: Card) -> Section:
    """How it was done: what changes an outcome, and to whom findings were sealed."""
    told = card.told
    facts = [
        Fact("Passes", ((", ".join(told.passes) or "none",),)),
        Fact("Confinement of the decoder", ((Told(told.tool.confinement or "no image was decoded"),),)),
        Fact("Guards switched off", tuple((Told(each),) for each in told.tool.unsafe) or (("none",),)),
        Fact("Findings sealed to", tuple((Told(each),) for each in told.recipients) or (("nobody",),)),
    ]
    if told.commitment:
        root: Line = (f"to the outcomes of {count_of(told.commitment.rows, 'row')}, root ", Told(told.commitment.root))
        facts.append(Fact("Commitment", (root,)))
    facts += [Fact(Told(name), ((Told(text),),)) for name, text in sorted(told.settings.items())]
    return Section("How it was done", (), tuple(facts))


def shows_not(card: Card) -> Section:
    """The limits, as the card has them."""
    limits = tuple((Told(each, SENTENCE_CHARS_MAX),) for each in card.told.limits)
    return Section("What this card cannot show", limits)


def verifying(card: Card) -> Section:
    """How a reader comes to the card itself."""
    facts = (
        Fact("Card, SHA-256", ((Told(card.sha256),),)),
        Fact("Signer", ((Told(card.signer),),)),
        Fact("Verify it with", ((Told(COMMAND),),)),
    )
    return Section("How to verify this", ((HOW_TO_VERIFY,),), facts)


def _rows(rows: int, whole: int) -> str:
    return f"{count_of(rows, 'row')}, {percent(rows, whole)}"


def after_about(card: Card) -> tuple[Section | None, ...]:
    """All that is said after what the card is about, in the order in which people read it."""
    return (
        shows_not(card),
        outcomes(card),
        matches(card),
        coverage(card),
        written(card),
        lists(card),
        detectors(card),
        reasons(card),
        work(card),
        files(card),
        verifying(card),
    )
