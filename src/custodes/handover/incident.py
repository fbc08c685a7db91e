"""Incidents: the findings of one image, in all rows and places and runs where it was found, told as one.

Findings belong together where they share a digest of the whole file (computed here, or matched on a list) or are one photo of a suspicion. Looking
alike (PDQ) never joins: two images may look alike. A digest of what a link shows today counts only where it is what matched; a placeholder in
place of a removed image would join all that it replaced. Ids tell nothing without the run key. What is done with incidents is for others.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from custodes.crypto.keys import RunKey
from custodes.handover.finding import Finding, Match, Suspicion
from custodes.handover.words import check_incident
from custodes.model import Kind, Meaning

__all__ = ["GRAVITY", "NUMBERED", "Incident", "Place", "folded", "incident_namer", "incidents_of", "named_by_findings"]

_FILE_KINDS: Final = (Kind.SHA256.value, Kind.SHA1.value, Kind.MD5.value)
GRAVITY: Final = (Meaning.CSAM, Meaning.SUSPECTED, Meaning.EXPLOITATIVE, Meaning.NCII, Meaning.UNMAPPED, "")
_DECISIONS: Final = ("report", "hold")

Key = tuple[str, ...]
"""What makes images the same: its sort, and its value. The sorts, the one that names an incident best first: digests, entries, photos; else a place."""
_SORTS: Final = (*_FILE_KINDS, "entry", "photo", "url", "finding")
NUMBERED: Final = re.compile(
    r"row-[0-9]+"
)  # the name that an import gives to an entry without one: another in each version


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row where the image was found. ``seen``: the image itself was there, behind the link at ``fetched_at`` or, without that time, in the dataset."""

    finding: str
    run_id: str
    dataset: str
    file: str
    row: int
    row_key: str
    url: str
    domain: str
    final_url: str
    found_at: str
    fetched_at: str
    http_status: int
    outcome: str
    reason: str
    seen: bool = False

    def __post_init__(self) -> None:
        check_incident(self.finding)  # of the same form

    def __repr__(self) -> str:
        return "<Place>"


class Incident(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image, as an authority hears of it. ``exact``: a list has the very file under ``meaning``; else the image looks alike, or its link is listed.

    ``digests``: of the file as it was seen here; ``recorded``: as the dataset records them, of a download long ago.
    ``decision``, ``rule`` and ``meaning`` are the gravest of its findings and matches. ``aliases``: other ids that the same image has, or had in another run.
    """

    id: str
    aliases: tuple[str, ...] = ()
    decision: str
    rule: str
    meaning: str
    exact: bool
    matches: tuple[Match, ...]
    digests: dict[str, str]
    recorded: dict[str, str] = {}
    size_bytes: int
    format: str
    width: int
    height: int
    places: tuple[Place, ...]
    found_at: str
    tool: str
    demo: bool = False
    suspicion: Suspicion | None = None
    viewed_by_a_person: Literal[False] = False

    def __post_init__(self) -> None:
        for name in (self.id, *self.aliases):
            check_incident(name)
        if not self.places:
            raise ValueError("an incident has at least one place")

    def __repr__(self) -> str:
        return f"<Incident {len(self.places)} places>"


def incident_namer(key: RunKey) -> Callable[[Key], str]:
    """Names incidents: HMAC(run key, what makes the image the same), 32 hex digits. The same image has the same name in every run of a site."""
    name = key.naming("incident")
    return lambda of: name(*(part.encode(errors="surrogatepass") for part in of)).hex()[:32]


def incidents_of(findings: Iterable[Finding], name: Callable[[Key], str], *, demo: bool = False) -> list[Incident]:
    """Findings as incidents, by id. Their order does not matter; of a finding that is told twice the later counts."""
    made = [_incident(group, [name(key) for key in keys], demo) for keys, group in _groups(findings)]
    return sorted(made, key=lambda incident: incident.id)


def named_by_findings(findings: Iterable[Finding], *, demo: bool = False) -> list[Incident]:
    """As :func:`incidents_of`, for those without the run key: an incident has the name of its first finding."""
    made = [_incident(group, [min(f.id for f in group)], demo) for _, group in _groups(findings)]
    return sorted(made, key=lambda incident: incident.id)


def folded(incidents: Iterable[Incident]) -> list[Incident]:
    """Of incidents that are told more than once, in portions or under several of their ids, one with all their places; for the rest the later counts."""
    found: dict[str, Incident] = {}
    owners: dict[str, str] = {}
    for told in incidents:
        incident = told
        for known in sorted({owners[name] for name in _names(told) if name in owners}):
            incident = _joined(found.pop(known), incident)
        found[incident.id] = incident
        owners.update(dict.fromkeys(_names(incident), incident.id))
    return list(found.values())


def _joined(before: Incident, after: Incident) -> Incident:
    best = (
        before if before.digests and not after.digests else after
    )  # of one whose link has died meanwhile more was known
    places = {place.finding: place for place in (*before.places, *after.places)}
    return msgspec.structs.replace(
        best,
        aliases=tuple(
            name for name in dict.fromkeys((*_names(best), *_names(before), *_names(after))) if name != best.id
        ),
        places=_in_order(places.values()),
        matches=_sorted_matches((*before.matches, *after.matches)),
        found_at=min(before.found_at, after.found_at),
    )


def _names(incident: Incident) -> tuple[str, ...]:
    return (incident.id, *incident.aliases)


def _sorted_matches(matches: Iterable[Match]) -> tuple[Match, ...]:
    return tuple(sorted(set(matches), key=msgspec.structs.astuple))


def _in_order(places: Iterable[Place]) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda place: msgspec.structs.astuple(place)[1:]))


def _groups(findings: Iterable[Finding]) -> Iterator[tuple[list[Key], list[Finding]]]:
    """Findings that belong together, with the keys that they have in all, the best first: union by keys."""
    once = list({finding.id: finding for finding in sorted(findings, key=lambda f: f.found_at)}.values())
    ambiguous = _ambiguous(once)
    parents: dict[Key, Key] = {}
    firsts: list[Key] = []
    for finding in once:
        keys = _keys(finding, ambiguous)
        firsts.append(keys[0])
        for key in keys:
            parents[_root(parents, key)] = _root(parents, keys[0])
    groups: defaultdict[Key, list[Finding]] = defaultdict(list)
    for first, finding in zip(firsts, once, strict=True):
        groups[_root(parents, first)].append(finding)
    keys_of: defaultdict[Key, list[Key]] = defaultdict(list)
    for key in parents:
        keys_of[_root(parents, key)].append(key)
    for root, group in groups.items():
        yield sorted(keys_of[root], key=lambda key: (_SORTS.index(key[0]), key)), group


def _root(parents: dict[Key, Key], key: Key) -> Key:
    parents.setdefault(key, key)
    while parents[key] != key:
        parents[key] = key = parents[parents[key]]
    return key


def _keys(finding: Finding, ambiguous: set[Key]) -> list[Key]:
    """What makes other findings the same image as this one; where nothing can, its link, or itself."""
    digests: list[Key] = [(kind, value) for kind, value in _file_digests(finding)]
    entries = [key for key in map(_entry, _file_matches(finding)) if key not in ambiguous]
    photo: list[Key] = [("photo", finding.suspicion.photo)] if finding.suspicion else []
    place: Key = ("url", finding.url) if finding.url else ("finding", finding.id)
    return digests + entries + photo or [place]


def _is_what_matched(finding: Finding) -> bool:
    # By its recorded digest alone: what was fetched today, if anything, did not match.
    return set(finding.passes) != {"columns"}


def _file_digests(finding: Finding) -> list[tuple[str, str]]:
    known = finding.digests if _is_what_matched(finding) else {}
    return [(kind, known[kind]) for kind in _FILE_KINDS if known.get(kind)]


def _file_matches(finding: Finding) -> list[Match]:
    return [match for match in finding.matches if match.kind in _FILE_KINDS]


def _entry(match: Match) -> Key:
    version = match.list_version if NUMBERED.fullmatch(match.entry) else ""
    return ("entry", match.kind, match.list, version, match.entry)


def _ambiguous(findings: Sequence[Finding]) -> set[Key]:
    """Entries that were matched with different digests of their kind: an authority may give one id to several files."""
    values: defaultdict[Key, set[str]] = defaultdict(set)
    for finding in findings:
        computed = dict(_file_digests(finding))
        for match in _file_matches(finding):
            if match.kind in computed:
                values[_entry(match)].add(computed[match.kind])
    return {key for key, found in values.items() if len(found) > 1}


def _incident(group: Sequence[Finding], names: Sequence[str], demo: bool) -> Incident:
    findings = sorted(group, key=_gravity)
    matches = _sorted_matches(match for finding in findings for match in finding.matches)
    meaning = min((match.meaning for match in matches), key=_rank, default="")
    exact = any(match.kind in _FILE_KINDS and match.meaning == meaning != "" for match in matches)
    shown = next((finding for finding in findings if _is_what_matched(finding)), None)
    suspicions = [finding.suspicion for finding in findings if finding.suspicion]
    return Incident(
        id=names[0],
        aliases=tuple(names[1:]),
        decision=findings[0].decision,
        rule=findings[0].rule,
        meaning=meaning,
        exact=exact,
        matches=matches,
        digests=dict(sorted(shown.digests.items())) if shown else {},
        recorded=_recorded(findings),
        size_bytes=shown.size_bytes if shown else 0,
        format=shown.format if shown else "",
        width=shown.width if shown else 0,
        height=shown.height if shown else 0,
        places=_in_order(map(_place, findings)),
        found_at=min(finding.found_at for finding in findings),
        tool=findings[0].tool,
        demo=demo,
        suspicion=min(suspicions, key=lambda each: (each.rank, each.photo), default=None),
    )


def _recorded(findings: Sequence[Finding]) -> dict[str, str]:
    """Of what matched by its recorded digest; of several, those of the gravest finding."""
    told = [finding.recorded for finding in findings if "columns" in finding.passes and finding.recorded]
    return dict(sorted(told[0].items())) if told else {}


def _rank(meaning: str) -> int:
    return GRAVITY.index(meaning) if meaning in GRAVITY else len(GRAVITY)


def _gravity(finding: Finding) -> tuple[int, int, str, str]:
    """The gravest first."""
    decision = _DECISIONS.index(finding.decision) if finding.decision in _DECISIONS else len(_DECISIONS)
    meaning = min((_rank(match.meaning) for match in finding.matches), default=len(GRAVITY))
    return decision, meaning, finding.found_at, finding.id


def _place(finding: Finding) -> Place:
    same = {name: getattr(finding, name) for name in Place.__struct_fields__ if name not in ("finding", "seen")}
    return Place(finding=finding.id, seen=bool(_file_digests(finding)), **same)
