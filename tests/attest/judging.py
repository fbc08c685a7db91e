"""A card with all that may be beside it (a policy, statements of keys, a proof of a log, the dataset, the cleaned set), and every way to change one thing."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from custodes.attest.statement import CLEANED, PAYLOAD_TYPE, Cleaned, Statement, Subject
from custodes.attest.verification import Verdict, card_bytes
from custodes.cards import Beside, statement_of
from custodes.cleaning.output import output_digests
from custodes.cleaning.writing import Note, make_whole_folder
from custodes.crypto.dsse import pae
from custodes.crypto.keys import SigningKey, VerifierKey
from custodes.errors import CustodesError
from custodes.logged import Evidence
from custodes.transparency.entries import card_entry, entry_bytes
from custodes.transparency.merkle import leaf_hash
from custodes.transparency.notes import cosign, parse_note
from custodes.transparency.proof import Proof
from custodes.verifying import Around, trusted_of, verify_with
from tests.attest.signers import KEYS, day, revoked, succeeded
from tests.stored import earlier
from tests.transparency.worlds import (
    LOG_KEY,
    WITNESS_KEYS,
    WITNESSES,
    naive_inclusion,
    note_of,
    numbered,
    tree_of,
)

SIGNED, SEEN, NOW = 15, 16, 40
ROWS = 60
LOG_POLICY = (
    f"log {LOG_KEY.verifier}\n"
    + "".join(f"witness w{number} {each}\n" for number, each in enumerate(WITNESSES))
    + "group g 2 w0 w1 w2\nquorum g\n"
)
REQUIRE = '[require]\nlists = ["other"]\npasses = ["bytes"]\nexamined_share_min = 0.9\nlog = true\n[log]\npolicy = "log.policy"\n'
IDENTITY = bytes([1]) + bytes(31)
"""The point of order one: its signatures are the point itself and zero, over anything (C2SP/CCTV)."""


def signed(statement: Statement, key: SigningKey) -> bytes:
    payload = statement.encode()
    return card_bytes(payload, key.sign(pae(PAYLOAD_TYPE, payload)), key.verifier)


def proof_of(card: bytes, seen: int = SEEN, witnesses: tuple[int, ...] = (0, 1)) -> bytes:
    rows = numbered(0, 12)
    rows[7] = entry_bytes(card_entry(card))
    note = note_of(tree_of(rows))
    text = parse_note(note).text
    note += "".join(str(cosign(text, WITNESS_KEYS[each], int(day(seen).timestamp()))) for each in witnesses).encode()
    return bytes(Proof(7, tuple(naive_inclusion(7, [leaf_hash(row) for row in rows])), note))


@dataclass(frozen=True)
class World:
    """What a verifier is given."""

    home: Path
    statement: Statement
    card: bytes
    policy: str
    statements: tuple[bytes, ...]
    proof: bytes
    dataset: str = ""

    def verdict(self) -> Verdict:
        """Raises what the verifier raises."""
        (self.home / "policy.toml").write_text(self.policy)
        (self.home / "log.policy").write_text(LOG_POLICY)
        shutil.rmtree(self.home / "memory", ignore_errors=True)  # or a forged log would be known for another history
        trusted = trusted_of([], self.home / "policy.toml", self.statements)
        evidence = Evidence("", self.proof) if self.proof else None
        around = Around(evidence=evidence, memory=self.home / "memory", dataset=self.dataset, now=day(NOW))
        return verify_with(self.card, trusted, around)

    def passes(self) -> bool:
        try:
            return self.verdict().passed
        except CustodesError:
            return False

    def saying(self, change: Callable[[dict[str, Any]], None], key: SigningKey = KEYS[1]) -> World:
        """The card with something else in it, signed, and logged as it is now."""
        told = msgspec.json.decode(self.statement.encode())
        change(told)
        payload = msgspec.json.encode(told, order="sorted")
        card = card_bytes(payload, key.sign(pae(PAYLOAD_TYPE, payload)), KEYS[1].verifier)  # whoever signed, it says so
        return replace(self, card=card, proof=proof_of(card))


def cleaned_of(files: int) -> Cleaned:
    return Cleaned(rows=ROWS, left=4, crowd=2, files=files)


def world(home: Path) -> World:
    past = earlier(home, 3, ROWS // 3)
    statement = statement_of(past.run, past.site.run_key(), Beside(digested=True, now=day(SIGNED)))
    note = Note(format="f", tool="t", dataset="d", rows=ROWS, left=4, crowd=2, reasons=(), tag="t")
    files = {f"{name}.csv": name.encode() * 9 for name in ("one", "two", "three")}
    make_whole_folder(
        home / "cleaned",
        note,
        {name: (lambda file, data=data: file.write(data)) for name, data in files.items()},  # type: ignore[misc]
    )
    digests = output_digests(home / "cleaned")[1]
    written = tuple(Subject(name=CLEANED + name, digest={"sha256": each}) for name, each in digests.items())
    told = msgspec.structs.replace(
        statement.predicate,
        demonstration=False,
        cleaned=cleaned_of(len(written)),
    )
    statement = msgspec.structs.replace(statement, subject=(*statement.subject, *written), predicate=told)
    card = signed(statement, KEYS[1])
    policy = f'[[signers]]\nkey = "{KEYS[0].verifier}"\nfrom = 2030-01-01\nuntil = 2030-12-31\n{REQUIRE}'
    return World(home, statement, card, policy, (succeeded(0, 1, 10),), proof_of(card))


# -- every way to change one thing


def bits(data: bytes, step: int) -> Iterator[tuple[int, bytes]]:
    """One bit of each byte, each byte taken out, each byte doubled, in steps."""
    for number, at in enumerate(range(0, len(data), step)):
        changed = (
            data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :],
            data[:at] + data[at + 1 :],
            data[:at] + data[at : at + 1] + data[at:],
        )[number % 3 if step > 1 else at % 3]
        if changed != data:
            yield at, changed


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(told: Any) -> None:
        *parents, last = path
        for name in parents:
            told = told[name]
        told[last] = to

    return change


def _more(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(told: Any) -> None:
        *parents, last = path
        for name in parents:
            told = told[name]
        told[last] += 1

    return change


COUNTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "rows": _more("predicate", "rows"),
    "examined": _more("predicate", "outcomes", "examined"),
    "failed": _more("predicate", "outcomes", "failed"),
    "reasons": _more("predicate", "reasons", "full"),
    "coverage": _set("predicate", "coverage", to={"bytes": ROWS + 1}),
    "matches": _set("predicate", "matches", to={"rows": ROWS + 1}),
    "left": _set("predicate", "cleaned", "left", to=ROWS + 1),
    "files": _more("predicate", "cleaned", "files"),
}
DEMANDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "another list": _set("predicate", "lists", 0, "id", to="mine"),
    "another pass": _set("predicate", "passes", to=["columns"]),
    "a demonstration": _set("predicate", "demonstration", to=True),
    "a guard off": _set("predicate", "tool", "unsafe", to=["--unsafe-no-jail"]),
    "not whole": lambda told: (
        told["predicate"].update(complete=False, cleaned=None, commitment=None)
        or told.update(subject=[each for each in told["subject"] if not each["name"].startswith(CLEANED)])
    ),
}
MOMENTS: dict[str, int] = {"before the key counts": 9, "after witnesses saw it": SEEN + 2, "still to come": NOW + 2}


def of_the_card(given: World, step: int) -> Iterator[tuple[str, World]]:
    for at, changed in bits(given.card, step):
        yield f"card, byte {at}", replace(given, card=changed)
    envelope = json.loads(given.card)
    for name in envelope:
        rest = {each: value for each, value in envelope.items() if each != name}
        yield f"card without {name}", replace(given, card=json.dumps(rest).encode())
    for name, change in {**COUNTS, **DEMANDS}.items():
        yield f"another key says {name}", given.saying(change, KEYS[5])
        yield f"the signer says {name}", given.saying(change)
    payload = given.statement.encode()
    stranger = card_bytes(payload, KEYS[5].sign(pae(PAYLOAD_TYPE, payload)), KEYS[0].verifier)
    yield "a stranger signs", replace(given, card=stranger, proof=proof_of(stranger), statements=())
    for name, moment in MOMENTS.items():
        yield f"signed {name}", given.saying(_set("predicate", "signed", to=day(moment).isoformat()))
    for at in (0, 1, 12):
        spelt = given.card[:at] + b" " + given.card[at:]
        yield f"a space more at {at}", replace(given, card=spelt, proof=proof_of(spelt))
    forged = card_bytes(payload, IDENTITY + bytes(32), _weak())
    weak = f'[[signers]]\nkey = "{_weak()}"\n{REQUIRE}'
    yield "a key of order one", replace(given, card=forged, proof=proof_of(forged), policy=weak, statements=())


def _weak() -> VerifierKey:
    """A key that could not be made: for what it would sign."""
    made = object.__new__(VerifierKey)
    object.__setattr__(made, "name", "lab.example")
    object.__setattr__(made, "public", IDENTITY)
    return made


def of_the_keys(given: World, step: int) -> Iterator[tuple[str, World]]:
    for at, changed in bits(given.statements[0], step):
        yield f"statement, byte {at}", replace(given, statements=(changed,))
    one = given.statements[0]
    for name, said in {
        "none": (),
        "another's": (succeeded(0, 1, 10, by=1),),
        "of another key": (succeeded(0, 2, 10),),
        "after it was signed": (succeeded(0, 1, SIGNED + 1),),
        "succeeded since": (one, succeeded(1, 2, SIGNED - 1)),
        "two successors": (one, succeeded(0, 2, 10)),
        "compromised": (one, revoked(1, 30, "compromised")),
        "compromised before it": (one, revoked(0, 30, "compromised", by=1)),
        "superseded before it was seen": (one, revoked(1, SEEN, "superseded")),
        "revoked by a stranger": (one, revoked(1, 30, "superseded", by=5)),
    }.items():
        yield f"statements: {name}", replace(given, statements=said)
    for name, rule in {
        "a window before": "from = 2030-01-01\nuntil = 2030-01-09",
        "a window after": "from = 2030-01-11",
        "revoked": "revoked = 2030-02-01\nreason = 'compromised'",
        "superseded before": "revoked = 2030-01-10\nreason = 'superseded'",
    }.items():
        policy = f'[[signers]]\nkey = "{KEYS[0].verifier}"\n{rule}\n{REQUIRE}'
        yield f"policy: {name}", replace(given, policy=policy)
    for name, rule in {
        "a window that it was signed before": "from = 2030-01-16",
        "a window that it was signed after": "until = 2030-01-14",
        "a window that it was seen after": "until = 2030-01-15",
        "revoked as superseded before it was seen": "revoked = 2030-01-16\nreason = 'superseded'",
    }.items():
        policy = f'[[signers]]\nkey = "{KEYS[1].verifier}"\n{rule}\n{REQUIRE}'
        yield f"policy: {name}", replace(given, policy=policy, statements=())


def of_the_proof(given: World, step: int) -> Iterator[tuple[str, World]]:
    for at, changed in bits(given.proof, step):
        yield f"proof, byte {at}", replace(given, proof=changed)
    yield "no proof", replace(given, proof=b"")
    yield "one witness", replace(given, proof=proof_of(given.card, witnesses=(0,)))
    yield "one witness twice", replace(given, proof=proof_of(given.card, witnesses=(0, 0)))
    yield "another card's", replace(given, proof=proof_of(given.card + b" "))
    yield "seen before it was signed", replace(given, proof=proof_of(given.card, SIGNED - 2))
    lines = given.proof.split(b"\n")
    for first, second in ((2, 3), (3, 4), (-3, -2)):
        moved = list(lines)
        moved[first], moved[second] = moved[second], moved[first]
        if moved[first] != moved[second] and (first > 0):
            yield f"lines {first} and {second}", replace(given, proof=b"\n".join(moved))


def of_files(given: World, step: int, name: str) -> Iterator[tuple[str, World]]:
    """One change to a copy of a set of files, and the change undone."""
    whole = given.home / name
    copied = given.home / f"{name} copied"
    shutil.copytree(whole, copied, dirs_exist_ok=True)
    there = replace(given, dataset=str(copied))
    files = sorted(path for path in copied.rglob("*") if path.is_file())
    for path in files:
        data = path.read_bytes()
        for at, changed in bits(data, step):
            path.write_bytes(changed)
            yield f"{path.name}, byte {at}", there
        path.write_bytes(data)
        for what, after in {"more": data + b"\0", "cut": data[:-1], "empty": b""}.items():
            path.write_bytes(after)
            yield f"{path.name}: {what}", there
        path.unlink()
        yield f"{path.name} is missing", there
        path.with_name(f"new-{path.name}").write_bytes(data)
        yield f"{path.name} has another name", there
        path.write_bytes(data)
        yield f"{path.name} is there twice", there
        path.with_name(f"new-{path.name}").unlink()
    for first, second in itertools.pairwise(files):
        one, two = first.read_bytes(), second.read_bytes()
        first.write_bytes(two)
        second.write_bytes(one)
        yield f"{first.name} and {second.name} for each other", there
        first.write_bytes(one)
        second.write_bytes(two)
    shutil.rmtree(copied)


def changes(given: World, step: int) -> Iterator[tuple[str, World]]:
    """All of them; each is to be judged before the next is asked for. ``step``: bytes between two that are changed."""
    yield from of_the_card(given, step)
    yield from of_the_keys(given, step)
    yield from of_the_proof(given, step)
    yield from of_files(given, step, "dataset")
    yield from of_files(given, max(1, step // 20), "cleaned")
