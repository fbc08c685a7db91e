"""NCMEC's hash sharing API, version 2: images' hashes and their withdrawals, member by member, and feedback on them.

Promises: times in UTC whatever the machine's zone; entries taken in any order; the checkpoint moves when a whole range was read, never before;
a paging address is followed on this service's own entries alone, and for 12 hours at most. Hashes of images only: MD5, SHA-1, PDQ, PhotoDNA.
What a classification means is for ``lists.meaning``.
"""

from __future__ import annotations

import binascii
import re
import time
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote
from xml.etree.ElementTree import Element  # the type; xml.py reads

import msgspec

from custodes.authorities.answers import text_of
from custodes.authorities.base import Environment, Feedback, Page, Verdict
from custodes.authorities.walking import going_on, still_good, stopped_walk, unreadable
from custodes.errors import AuthorityError, ConfigError, InputError
from custodes.lists.records import Record
from custodes.model import Entry, Kind
from custodes.services.calls import Answer, Caller
from custodes.services.xml import read_xml

__all__ = ["ENVIRONMENTS", "Group", "Ncmec"]

_CSAM, _EXPLOITATIVE = "ncmec", "ncmec/exploitative"
ENVIRONMENTS: Final = {
    "industry": Environment("https://report.cybertip.org/hashsharing", True, _CSAM),
    "industry-exploitative": Environment("https://report.cybertip.org/exploitative-hashsharing", True, _EXPLOITATIVE),
    "law-enforcement": Environment("https://lesp.ncmec.org/csam-hashsharing", True, _CSAM),
    "ngo": Environment("https://hashsharing.ncmec.org/npo", True, _CSAM),
    "exploitative": Environment("https://hashsharing.ncmec.org/exploitative", True, _EXPLOITATIVE),
    "ngo-generative-ai": Environment("https://hashsharing.ncmec.org/generative-ai-csam", True, _CSAM),
    "ngo-generative-ai-exploitative": Environment(
        "https://hashsharing.ncmec.org/generative-ai-exploitative", True, _EXPLOITATIVE
    ),
    "industry-test": Environment("https://exttest.cybertip.org/hashsharing", False, _CSAM),
    "industry-exploitative-test": Environment(
        "https://exttest.cybertip.org/exploitative-hashsharing", False, _EXPLOITATIVE
    ),
    "law-enforcement-test": Environment("https://betalesp.ncmec.org/csam-hashsharing", False, _CSAM),
    "ngo-test": Environment("https://hashsharing-test.ncmec.org/npo", False, _CSAM),
    "exploitative-test": Environment("https://hashsharing-test.ncmec.org/exploitative", False, _EXPLOITATIVE),
    "ngo-generative-ai-test": Environment("https://hashsharing-test.ncmec.org/generative-ai-csam", False, _CSAM),
    "ngo-generative-ai-exploitative-test": Environment(
        "https://hashsharing-test.ncmec.org/generative-ai-exploitative", False, _EXPLOITATIVE
    ),
}

_NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
_ENTRIES: Final = "/v2/entries"
_OVERLAP: Final = timedelta(minutes=5)
"""How far a range begins before the last one ended: for clocks that differ, and entries that are seen later than their time says."""
_BEFORE_NOW: Final = timedelta(seconds=5)  # a range that ends now may miss what is being written
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_KINDS: Final = {"md5": Kind.MD5, "sha1": Kind.SHA1, "pdq": Kind.PDQ, "pdna": Kind.PHOTODNA}
_TYPES: Final = {Kind.MD5: "MD5", Kind.SHA1: "SHA1", Kind.PDQ: "PDQ", Kind.PHOTODNA: "PDNA"}
_OTHERS: Final = frozenset({"netclean", "videntifier", "tmk_pdqf", "ssvh_pdna", "ssvh_safer_hash", "tmk_safer_hash"})
_NEXT: Final = re.compile(re.escape(_ENTRIES) + r"\?[!\"$-~]{1,4000}")  # visible ASCII without #
_MEMBER: Final = re.compile(r"[0-9]{1,19}")
_GUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_TEXT_MAX: Final = 200  # characters of an id, a name, a classification
_UNREVIEWED_MEMBER: Final = "take it down"  # hashed by the young people themselves; no analyst has seen the images


@dataclass(frozen=True, slots=True)
class Group:
    """A group of categorizations: whether an entry may have several of it, and the options, name -> GUID. GUIDs differ by environment."""

    name: str
    multiple: bool
    options: Mapping[str, str]


class _Walk(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"begin": "from", "end": "to"}
):
    """A range, and where it goes on: "" before the first page. ``at``: when that was told, in seconds since 1970."""

    begin: str
    end: str
    next: str = ""
    at: float = 0.0


class Ncmec:
    """One of NCMEC's environments (``ENVIRONMENTS``), of all its members or of those in ``member_ids``."""

    name = "ncmec"
    whole = False

    def __init__(
        self,
        caller: Caller,
        environment: str,
        member_ids: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if environment not in ENVIRONMENTS:
            raise ConfigError("NCMEC has no such environment", hint=f"one of: {', '.join(ENVIRONMENTS)}")
        known = ENVIRONMENTS[environment]
        if caller.base != known.base and not caller.unsafe_allow_loopback:
            raise ConfigError(f"the address is not that of NCMEC's environment {environment}")
        if not all(_MEMBER.fullmatch(member) for member in member_ids):
            raise ConfigError("member_ids are NCMEC's numbers of members")
        self.environment = environment
        self.production = known.production and caller.base == known.base  # a stand-in is never the real one
        self.scheme = known.scheme
        self._caller = caller
        self._member_ids = member_ids
        self._clock = clock

    async def pages(self, checkpoint: str, resume: str = "") -> AsyncIterator[Page]:
        """See ``Authority.pages``. The checkpoint is the end of the last range that was read to its end."""
        walk = _stopped(resume) if resume else self._begin(checkpoint)
        asked = {walk.next}
        while True:
            answer = await self._ask(walk)
            result = read_xml(answer, ("queryResult",), _NAMESPACE)
            records, skipped = self._records(result)
            following = (result.findtext("paging/next") or "").strip()
            if not following:
                yield Page(records, checkpoint=walk.end, skipped=skipped)
                return
            if not _NEXT.fullmatch(following):
                raise AuthorityError(f"the answer to {answer.path} goes on at an address that is not of its entries")
            if following in asked:
                raise AuthorityError(f"the answer to {answer.path} goes on where the walk has been")
            asked.add(following)
            walk = _Walk(begin=walk.begin, end=walk.end, next=following, at=self._clock())
            yield Page(records, resume=msgspec.json.encode(walk).decode(), skipped=skipped)

    async def status(self) -> str:
        """See ``Authority.status``: the member that the credentials belong to."""
        found = read_xml(await self._caller.get("/v2/status"), ("status",), _NAMESPACE).find("member")
        if found is None or not _MEMBER.fullmatch(found.get("id", "")):
            raise AuthorityError("NCMEC's status names no member")
        kind = "production" if self.production else "test"
        return f"NCMEC {self.environment} ({kind}): member {found.get('id')}, {_label(found.text)}"

    async def categorizations(self) -> tuple[Group, ...]:
        """The groups by which entries of this environment may be annotated. Raises AuthorityError."""
        answer = await self._caller.get("/v2/categorizations")
        return tuple(
            Group(_label(group.get("name")), group.get("allowMultiple") == "true", _guids(group, "categorization"))
            for group in read_xml(answer, ("availableCategorizations",), _NAMESPACE).iter("group")
        )

    async def feedback_reasons(self, kind: Kind) -> dict[str, str]:
        """See ``Authority.feedback_reasons``. NCMEC says no more of a reason than its name."""
        return dict.fromkeys(await self._reasons(_type_of(kind)), "")

    async def give(self, feedback: Feedback) -> None:
        """See ``Authority.give``. A dispute needs a reason; to confirm takes none."""
        member, _, entry = feedback.id.partition("/")
        if not _MEMBER.fullmatch(member) or not _is_id(entry):
            raise InputError("this is not the id of an NCMEC entry: MEMBER/ENTRY")
        name = _type_of(feedback.kind)
        if feedback.verdict is Verdict.CONFIRM:
            if feedback.reason:
                raise InputError("to confirm an entry, NCMEC takes no reason")
            said = "<affirmative/>"
        else:
            said = f"<negative><reasonIds><guid>{await self._guid(name, feedback.reason)}</guid></reasonIds></negative>"
        await self._caller.send(
            "PUT",
            f"{_ENTRIES}/{member}/{quote(entry, safe='')}/{name}/feedback",
            f'<feedbackSubmission xmlns="{_NAMESPACE}">{said}</feedbackSubmission>'.encode(),
            "application/xml; charset=utf-8",
            shown=f"{_ENTRIES}/\u2026/feedback",
        )

    async def close(self) -> None:
        """See ``Authority.close``."""
        await self._caller.close()

    def _begin(self, checkpoint: str) -> _Walk:
        begin = _EPOCH
        if checkpoint:
            last = _time_of(checkpoint)
            if last is None:
                raise AuthorityError(
                    "the checkpoint of this list is not a time", hint="fetch the list from the beginning"
                )
            begin = max(_EPOCH, last - _OVERLAP)
        end = datetime.fromtimestamp(int(self._clock()), UTC) - _BEFORE_NOW
        if end <= begin:
            raise AuthorityError("this machine's clock stands before the last fetch", hint="set the clock")
        return _Walk(begin=_text_of(begin), end=_text_of(end))

    async def _ask(self, walk: _Walk) -> Answer:
        if not walk.next:
            return await self._caller.get(_ENTRIES, {"from": walk.begin, "to": walk.end})
        still_good("the paging address", self._clock() - walk.at)
        with going_on("the paging address"):
            return await self._caller.get(walk.next)

    def _records(self, result: Element) -> tuple[tuple[Record, ...], Counter[str]]:
        skipped: Counter[str] = Counter()
        skipped["video"] = len(result.findall("videos/*"))
        found = [self._record(element, skipped) for element in result.findall("images/*")]
        return tuple(record for record in found if record is not None), +skipped

    def _record(self, element: Element, skipped: Counter[str]) -> Record | None:
        """What is said of one id, or None and why. A bad hash costs itself; the rest of its entry stands."""
        if element.tag not in ("image", "deletedImage"):
            skipped["other"] += 1
            return None
        member = element.find("member")
        member_id = member.get("id", "") if member is not None else ""
        entry_id = (element.findtext("id") or "").strip()
        modified = _time_of((element.findtext("timestamp") or "").strip())
        if member is None or modified is None or not _MEMBER.fullmatch(member_id) or not _is_id(entry_id):
            skipped["malformed"] += 1
            return None
        if self._member_ids and member_id not in self._member_ids:
            skipped["other member"] += 1
            return None
        name = f"{member_id}/{entry_id}"
        entries = () if element.tag == "deletedImage" else _entries(element, name, member.text or "", skipped)
        return Record(name, entries, (modified - _EPOCH) // timedelta(milliseconds=1))

    async def _reasons(self, name: str) -> dict[str, str]:
        """Reasons to dispute a fingerprint of this type, name -> GUID, as this environment has them."""
        answer = await self._caller.get(f"/v2/feedback/{name}/reasons")
        found = read_xml(answer, ("availableFeedbackReasons",), _NAMESPACE)
        return _guids(found, "reason", name)

    async def _guid(self, name: str, reason: str) -> str:
        reasons = await self._reasons(name)
        if reason not in reasons:
            raise InputError(
                "to dispute an entry, NCMEC takes one of its reasons", hint=f"one of: {', '.join(reasons)}"
            )
        return reasons[reason]


def _entries(image: Element, name: str, member: str, skipped: Counter[str]) -> tuple[Entry, ...]:
    category = _label(image.findtext("classification"))
    assurance = "unreviewed" if " ".join(member.split()).casefold() == _UNREVIEWED_MEMBER else ""
    entries = []
    for fingerprint in image.findall("fingerprints/*"):
        key = fingerprint.tag.lower().replace("-", "_")
        if key not in _KINDS:
            skipped[key if key in _OTHERS else "other"] += 1
        elif (value := _value_of(_KINDS[key], (fingerprint.text or "").strip())) is None:
            skipped["pdna" if key == "pdna" else "malformed"] += 1  # PhotoDNA's form is not documented
        else:
            entries.append(Entry(_KINDS[key], value, name, category, assurance))
    return tuple(entries)


def _value_of(kind: Kind, text: str) -> bytes | None:
    """A hash in hexadecimal of either case, or PhotoDNA's 144 bytes in base64; None for anything else."""
    try:
        in_base64 = kind is Kind.PHOTODNA and len(text) == kind.size_bytes * 4 // 3
        value = b64decode(text, validate=True) if in_base64 else binascii.unhexlify(text)
    except ValueError:
        return None
    return value if len(value) == kind.size_bytes else None


def _type_of(kind: Kind) -> str:
    if kind not in _TYPES:
        raise InputError(f"NCMEC takes feedback on {', '.join(_TYPES)}, not on {kind}")
    return _TYPES[kind]


def _guids(parent: Element, tag: str, of_type: str = "") -> dict[str, str]:
    """Names and GUIDs of the elements of this name; those that say of which type they are only if it is this one."""
    return {
        _label(element.get("name")): element.get("guid", "")
        for element in parent.iter(tag)
        if _GUID.fullmatch(element.get("guid", "")) and element.get("type", of_type).casefold() == of_type.casefold()
    }


def _stopped(resume: str) -> _Walk:
    walk = stopped_walk(resume, _Walk)
    if not _NEXT.fullmatch(walk.next):
        raise unreadable()
    return walk


def _time_of(text: str) -> datetime | None:
    """An ISO 8601 time with its zone, not before 1970; None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None and found >= _EPOCH else None


def _text_of(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_id(text: str) -> bool:
    return 0 < len(text) <= _TEXT_MAX and text.isprintable() and text not in (".", "..")


def _label(text: str | None) -> str:
    """A name or classification as it is given; one that could not be shown, or never ends, as "unreadable", which nothing is mapped to."""
    return text_of((text or "").strip())
