"""A card, of a run or of a gateway, verified with all that its reader has: keys, a policy, a log or a proof of it, the dataset itself.

Promises each check in a line, and nothing of the card as fact if one fails. What makes a card good is ``attest``'s, what makes a log good ``logged``'s; here
they are put together, and files are compared with those that the card names.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path, PurePath
from typing import Final

from custodes.attest.gateway import (
    GatewayPeriod,
    GatewayStatement,
    GatewayVerdict,
    is_gateway_card,
    verify_gateway_card,
)
from custodes.attest.keyring import TrustedKey, trusted_by
from custodes.attest.policy import Policy, Require, check_key, check_required, read_policy
from custodes.attest.statement import CLEANED, Statement, Subject
from custodes.attest.verification import Check, Verdict, verify_card
from custodes.cleaning.output import digests_of
from custodes.cleaning.writing import NOTE
from custodes.crypto.keys import VerifierKey
from custodes.errors import ConfigError, SourceError
from custodes.logged import Evidence, checks_of_log
from custodes.sources.base import SourceFile, SourceOptions
from custodes.sources.files import find, open_file, source_file
from custodes.sources.source import plan
from custodes.transparency.memory import Memory
from custodes.transparency.policy import Policy as LogPolicy

__all__ = ["Around", "Trusted", "checks_of_dataset", "trusted_of", "verify_either", "verify_with"]

FINGERPRINT: Final = "custodes-fingerprint-1"
NAMES_TOLD_MAX: Final = 5


@dataclass(frozen=True)
class Trusted:
    """What a reader trusts and asks for. ``require``: None where no policy says."""

    keys: tuple[TrustedKey, ...]
    require: Require | None = None
    log: LogPolicy | None = None


@dataclass(frozen=True)
class Around:
    """What there is beside the card."""

    evidence: Evidence | None = None
    memory: Path | None = None
    dataset: str = ""
    now: datetime | None = None


def trusted_of(given: Sequence[TrustedKey], policy: Path | None, statements: Sequence[bytes]) -> Trusted:
    """Keys that the reader was given, and those of a policy's file; then what their holders state of them. Raises ConfigError."""
    read = _policy(policy) if policy else None
    named = {
        each.key: each for each in (*given, *(read.keys() if read else ()))
    }  # what the policy says of a key counts
    log = None
    if read and read.log and policy:
        log = LogPolicy.parse(_bytes(policy.parent / read.log.policy))
    return Trusted(trusted_by(tuple(named.values()), statements), read.require if read else None, log)


def _policy(path: Path) -> Policy:
    try:
        return read_policy(_bytes(path).decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", hint=error.hint) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def verify_either(card: bytes, keys: Sequence[VerifierKey], now: datetime | None = None) -> Verdict | GatewayVerdict:
    """The card itself, as what it was signed to be. Raises ConfigError where no key is trusted."""
    if not keys or not is_gateway_card(card, keys):
        return verify_card(card, keys, now)
    return verify_gateway_card(card, keys, now)


def verify_with(card: bytes, trusted: Trusted, around: Around) -> Verdict | GatewayVerdict:
    """Every check, in order: the card itself, the log, the key at its time, what is asked for, the dataset."""
    now = around.now or datetime.now(UTC)
    verdict = verify_either(card, [each.key for each in trusted.keys], now)
    if verdict.statement is None or verdict.key is None:
        return verdict  # nothing of it can be believed, so nothing of it is looked at
    told = verdict.statement
    logged, by = _logged(card, trusted, around)
    key = next(each for each in trusted.keys if each.key == verdict.key)
    checks = [*logged, check_key(key, datetime.fromisoformat(told.predicate.signed), by)]
    if isinstance(told, GatewayStatement):
        checks += _required_of_gateway(told.predicate, trusted.require, now) if trusted.require else ()
        checks += [_NO_DATASET] if around.dataset else []
    else:
        checks += check_required(told.predicate, trusted.require, now) if trusted.require else ()
        checks += checks_of_dataset(told, around.dataset) if around.dataset else ()
    told_all = replace(verdict, checks=(*verdict.checks, *checks))
    return replace(told_all, statement=None) if any(check.state == "failed" for check in checks) else told_all


_NO_DATASET: Final = Check("dataset", "failed", "it is a gateway's card, which is about no dataset")


def _required_of_gateway(told: GatewayPeriod, require: Require, now: datetime) -> Iterator[Check]:
    """What a policy asks of a card, asked of a gateway's. A period is whole; what only a run's card tells is lacking."""
    if require.lists:
        lacking = sorted(set(require.lists) - {used.id for used in told.lists})
        yield _asked("required lists", not lacking, f"of {len(require.lists)} lists, {len(lacking)} are not named")
    if not require.demonstration:
        yield _asked("no demonstration", not told.demonstration, f"sealed to a real key: {not told.demonstration}")
    if require.guards:
        off = ", ".join(told.tool.unsafe)
        yield _asked("guards on", not off, f"switched off: {off or 'none'}")
    if require.age_days_max is not None:
        age = now - datetime.combine(told.last + timedelta(days=1), time(), UTC)
        words = f"the period ended {age.days:,} days ago; at most {require.age_days_max:,} are asked for"
        yield _asked("age", age <= timedelta(days=require.age_days_max), words)
    for name in ("passes", "examined_share_min"):
        if getattr(require, name):
            yield _asked(name, False, "a gateway's card does not tell it, and it is asked for")


def _asked(name: str, held: bool, means: str) -> Check:
    return Check(name, "passed" if held else "failed", means)


def _logged(card: bytes, trusted: Trusted, around: Around) -> tuple[tuple[Check, ...], datetime | None]:
    if around.evidence is None:
        asked = trusted.require is not None and trusted.require.log
        none = Check(
            "log", "failed", "the policy asks for a log, and neither a proof nor a log was given: see --proof and --log"
        )
        return ((none,) if asked else ()), None
    if trusted.log is None or around.memory is None:
        raise ConfigError(
            "a log is believed by a policy that names its key and its witnesses",
            hint="give --policy FILE, with [log] policy in it: see docs/guides/verify-a-card.md",
        )
    found = checks_of_log(card, around.evidence, trusted.log, Memory(around.memory))
    return found.checks, datetime.fromtimestamp(found.by_s, UTC) if found.passed and found.by_s is not None else None


# -- the dataset


def checks_of_dataset(told: Statement, dataset: str) -> Iterator[Check]:
    """Whether the files at ``dataset`` are those of the card: all of them, no others, unchanged. Raises InputError for what cannot be read."""
    written = {each.name: each for each in told.subject if each.name.startswith(CLEANED)}
    if (Path(dataset) / NOTE).exists():
        digests = digests_of(Path(dataset))
        there = Counter((CLEANED + name, digest) for name, digest in digests.items())
        named = Counter((name, each.digest["sha256"]) for name, each in written.items())
        if not named:
            means = "it was written by custodes clean, and the card names no such files: it is about the original"
            yield Check("dataset", "failed", means)
            return
        yield _compared("the cleaned set", named, there, "by SHA-256 of all of them")
        return
    examined = [each for each in told.subject if not each.name.startswith(CLEANED)]
    files = _files(dataset)
    there = Counter((_name(file), file.fingerprint) for file in files)
    named = Counter((each.name, each.digest.get(FINGERPRINT, "")) for each in examined)
    by = _compared("the original set", named, there, "by size, first and last MiB: a change between them is not seen")
    if by.state == "failed" or not all("sha256" in each.digest for each in examined):
        yield by
        return
    yield _compared("the original set", *_in_full(examined, files), "by SHA-256 of all of them")


def _files(dataset: str) -> Sequence[SourceFile]:
    """The files of a set, as a scan names them. Which columns the scan was told to read makes no difference to that."""
    try:
        return plan(dataset, SourceOptions()).files
    except SourceError:
        return [source_file(path) for path in find(dataset)]


def _name(file: SourceFile) -> str:
    return PurePath(file.path.partition("?")[0]).name or "dataset"


def _in_full(
    examined: Iterable[Subject], files: Iterable[SourceFile]
) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    there: Counter[tuple[str, str]] = Counter()
    for file in files:
        with open_file(file.path) as opened:
            there[_name(file), hashlib.file_digest(opened, "sha256").hexdigest()] += 1  # type: ignore[arg-type]
    return Counter((each.name, each.digest["sha256"]) for each in examined), there


def _compared(taken_for: str, named: Counter[tuple[str, str]], there: Counter[tuple[str, str]], how: str) -> Check:
    """One line: taken for which set, and each file that is missing, not named, or changed."""
    lacking, over = named - there, there - named
    changed = {name for name, _ in lacking} & {name for name, _ in over}
    parts: Mapping[str, list[str]] = {
        "changed": sorted(changed),
        "missing": sorted(name for name, _ in lacking.elements() if name not in changed),
        "not named by the card": sorted(name for name, _ in over.elements() if name not in changed),
    }
    wrong = "; ".join(f"{len(names):,} {what}: {_some(names)}" for what, names in parts.items() if names)
    if wrong:
        return Check("dataset", "failed", f"taken for {taken_for}: {wrong}")
    return Check(
        "dataset", "passed", f"taken for {taken_for}: all {there.total():,} files are as the card names them, {how}"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_TOLD_MAX:,} more" if len(names) > NAMES_TOLD_MAX else ""
    return ", ".join(names[:NAMES_TOLD_MAX]) + more
