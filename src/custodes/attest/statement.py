"""The statement of a card: what was examined, with what, and how it ended, in counts. An in-toto statement (v1) with a predicate of our own.

Promises that numbers which do not add up cannot be read back as a card, that a count which could name a row is told as "fewer than", and that a card never says
that a dataset holds nothing. Format: docs/formats/card.md.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from custodes.model import REASONS, OutcomeName, Reason

__all__ = [
    "CLEANED",
    "COMMITMENT_TYPE",
    "FLOOR",
    "PAYLOAD_TYPE",
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "Cleaned",
    "Commitment",
    "Detector",
    "Examination",
    "ListCommitment",
    "Matches",
    "Measure",
    "Statement",
    "Subject",
    "Tool",
    "counted",
    "moment_of",
]

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://custodes.dev/card/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
COMMITMENT_TYPE: Final = "custodes-rows-1"
CLEANED: Final = "cleaned/"
"""The names of subjects that were written without the rows that left begin so."""

FLOOR: Final = 10
"""Matches of fewer rows than this are not told as a number."""

SUBJECTS_MAX: Final = 1_000_000

Count = Annotated[int, Meta(ge=0)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]  # "$" alone lets a line feed follow
Share = Annotated[float, Meta(ge=0, le=1)]
Text = Annotated[str, Meta(max_length=1000)]
Moment = Annotated[
    str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$", max_length=32)
]


class Subject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that was examined, or one that was written without the rows that left.

    ``digest``: by algorithm; ``custodes-fingerprint-1`` covers its size and its first and last MiB, ``sha256`` all of it.
    """

    name: Text
    digest: dict[str, Sha256]

    def __post_init__(self) -> None:
        if not self.digest:
            raise ValueError("a subject has a digest")


class Tool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What examined."""

    name: Text
    version: Text
    confinement: Text
    unsafe: tuple[Text, ...] = ()


class ListCommitment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list that was compared with: a version commits to its content without telling it. ``stale_since``: it was past its age when the run began.

    ``holder``: who made it, as the operator recorded it.
    """

    id: Text
    holder: Text = ""
    version: Text
    stale_since: Text = ""


class Matches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows that matched, as far as that may be told: a number, or that it is fewer than ``below`` (and perhaps none)."""

    rows: Count | None = None
    below: Count | None = None

    def __post_init__(self) -> None:
        if (self.rows is None) == (self.below is None):
            raise ValueError("matches are told as a number, or as fewer than one")


def counted(rows: int, floor: int = FLOOR) -> Matches:
    """A count as it may be told."""
    return Matches(rows=rows) if rows >= floor else Matches(below=floor)


class Measure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a detector was worth where it was measured: ``value`` of ``on`` cases, with the interval that holds the true one in 95 of 100.

    ``what``: on what, in words; ``at``: the threshold or the slice.
    """

    what: Text
    of: Literal["precision", "recall"]
    at: Text
    value: Share
    low: Share
    high: Share
    on: Annotated[int, Meta(gt=0)]

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError("a measured share lies in its interval")


class Detector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What finds images that are on no list byte by byte, and where it comes from. ``measured`` is empty where nobody measured it."""

    name: Text
    kind: Literal["near-hash", "encoder", "probe"]
    version: Text
    origin: Text
    training_data: Text = ""
    licence: Text = ""
    known_findings: tuple[Text, ...] = ()
    measured: tuple[Measure, ...] = ()


class Commitment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The root of the Merkle tree over every row's salted outcome (docs/formats/row-proofs.md)."""

    type: Literal["custodes-rows-1"] = COMMITMENT_TYPE
    rows: Annotated[int, Meta(gt=0)]
    root: Sha256


class Cleaned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dataset that was written without the rows that left: of them at most one in ``crowd`` matched. ``files``: so many of the subjects are its own."""

    rows: Count
    left: Count
    crowd: Annotated[int, Meta(ge=2)]
    files: Annotated[int, Meta(gt=0)]

    def __post_init__(self) -> None:
        if self.left > self.rows:
            raise ValueError("more rows left than there were")


class Examination(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The predicate. ``outcomes`` and ``reasons`` each sum to ``rows``; ``coverage``: rows that each pass compared."""

    run: Text
    dataset: Text
    began: Moment
    signed: Moment
    tool: Tool
    lists: tuple[ListCommitment, ...]
    passes: tuple[Literal["columns", "bytes", "similar"], ...]
    settings: dict[str, str]
    rows: Count
    complete: bool
    outcomes: dict[OutcomeName, Count]
    reasons: dict[Reason, Count]
    coverage: dict[Text, Count]
    matches: Matches
    matches_by_list: dict[Text, Matches]
    detectors: tuple[Detector, ...] = ()
    commitment: Commitment | None = None
    cleaned: Cleaned | None = None
    recipients: tuple[Text, ...]
    demonstration: bool
    limits: tuple[Text, ...]
    """What this card cannot show, in sentences."""

    def __post_init__(self) -> None:
        for name, counts in (("outcomes", self.outcomes), ("reasons", self.reasons)):
            if sum(counts.values()) != self.rows:
                raise ValueError(f"the {name} do not sum to the rows")
        if set(self.outcomes) != set(OutcomeName):
            raise ValueError("all four outcomes are told")
        for outcome, count in self.outcomes.items():
            if sum(self.reasons.get(reason, 0) for reason in REASONS[outcome]) != count:
                raise ValueError(f"the reasons of {outcome} do not sum to its rows")
        if any(count > self.rows for count in self.coverage.values()):
            raise ValueError("a pass compared more rows than there are")
        if any(
            told.rows is not None and told.rows > self.rows for told in (self.matches, *self.matches_by_list.values())
        ):
            raise ValueError("more rows matched than there are")
        if not self.lists or not self.limits:
            raise ValueError("a card names its lists and its limits")
        if self.commitment and (not self.complete or self.commitment.rows != self.rows):
            raise ValueError("a commitment is to all rows")
        if self.cleaned and (not self.complete or self.cleaned.rows != self.rows):
            raise ValueError("what was written again had other rows")
        if moment_of(self.began) > moment_of(self.signed):
            raise ValueError("it was signed before it began")


def moment_of(text: str) -> datetime:
    """The time that a card tells. Raises ValueError where it has no offset from UTC."""
    told = datetime.fromisoformat(text)
    if told.tzinfo is None:
        raise ValueError("a time has no offset from UTC")
    return told


class Statement(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"type_": "_type", "predicate_type": "predicateType"},
):
    """The in-toto statement."""

    type_: Literal["https://in-toto.io/Statement/v1"] = STATEMENT_TYPE
    subject: tuple[Subject, ...]
    predicate_type: Literal["https://custodes.dev/card/v1"] = PREDICATE_TYPE
    predicate: Examination

    def __post_init__(self) -> None:
        if not 1 <= len(self.subject) <= SUBJECTS_MAX:
            raise ValueError(f"a card is about 1 to {SUBJECTS_MAX:,} files")
        written = [each for each in self.subject if each.name.startswith(CLEANED)]
        if len(written) != (self.predicate.cleaned.files if self.predicate.cleaned else 0):
            raise ValueError("the files that were written again are not as many as it says")
        if any("sha256" not in each.digest for each in written):
            raise ValueError("a file that was written again has a digest of all of it")

    def encode(self) -> bytes:
        """The bytes that are signed: keys in a fixed order."""
        return msgspec.json.encode(self, order="sorted")
