"""The matcher: batches of digests in, one coarse verdict for each item out. It alone holds the lists, and what tenants have found.

Promises: an item is compared only if its tenant may ask and it lies around no earlier match; a new match is on disk before it is answered; the
items of a batch learn no more from each other than one after the other. Whatever fails ends the process, so that the front answers 503, never ok.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from custodes.channel import Frames, receive, send
from custodes.errors import InternalError
from custodes.examine import Column, Evidence, Examiner
from custodes.model import Action, Decision, Kind
from custodes.pdq import FORMS, forms_of
from custodes.serving.defence import Guard
from custodes.serving.messages import Answer, Ask, Batch, Item, Verdict

__all__ = ["Judge", "answer_all"]

Uint8s = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]
Guards = Mapping[str, Guard]

_NONE = np.empty(0, dtype=np.int64)
_EXACT = (Kind.MD5, Kind.SHA1, Kind.SHA256)
_CODE_BYTES = Kind.PDQ.size_bytes


class _Codes:
    """The PDQ codes of a batch: whose they are, with their reflections, their quality, all their forms."""

    def __init__(self, items: Sequence[Item]) -> None:
        owned = [(number, each) for number, item in enumerate(items) for each in item.pdq]
        whole = b"".join(_whole(each.code) for _, each in owned)
        self.items = np.array([number for number, _ in owned], dtype=np.int64)
        self.whole = np.frombuffer(whole, dtype=np.uint8).reshape(len(owned), 4 * _CODE_BYTES)
        self.quality = np.array([each.quality for _, each in owned], dtype=np.int64)
        self.forms = forms_of(self.whole) if owned else np.empty((0, len(FORMS), _CODE_BYTES), dtype=np.uint8)

    def code(self, row: int) -> bytes:
        """The code itself, one of the rows."""
        return bytes(self.whole[row, :_CODE_BYTES])

    def column(self, rows: Int64s, items: Int64s) -> Column:
        """Some of them as evidence, for these items."""
        return items, self.whole[rows], self.quality[rows]


class _Turn:
    """One batch on its way: items, what is known of each, and who asked."""

    def __init__(self, asks: Sequence[Ask]) -> None:
        self.items = [item for ask in asks for item in ask.items]
        self.codes = _Codes(self.items)
        self.verdicts: list[Verdict | None] = [None] * len(self.items)
        self.owned: dict[str, list[int]] = {}

    def say(self, items: Iterable[int], verdict: Verdict) -> None:
        """The verdict on items that have none."""
        for item in items:
            self.verdicts[item] = verdict if self.verdicts[item] is None else self.verdicts[item]

    def open(self, owned: Iterable[int] | None = None) -> list[int]:
        """Items without a verdict, of those given or of all."""
        return [item for item in (range(len(self.items)) if owned is None else owned) if self.verdicts[item] is None]

    def rows(self, items: Sequence[int]) -> Int64s:
        """The codes of these items."""
        return np.flatnonzero(np.isin(self.codes.items, np.array(items, dtype=np.int64)))


class Judge:
    """Judges for many tenants. ``guards`` is called when the first batch comes, and not before: until then another may hold what they remember."""

    def __init__(self, examiner: Examiner, guards: Callable[[], Guards], hits_per_day: int) -> None:
        self._examiner = examiner
        self._guards_of = guards
        self._found: Guards | None = None
        self._hits_per_day = hits_per_day

    @property
    def _guards(self) -> Guards:
        if self._found is None:
            self._found = self._guards_of()
        return self._found

    def verdicts(self, asks: Sequence[Ask]) -> bytes:
        """A verdict for each item, in order. Raises StorageError where a match cannot be remembered."""
        turn = _Turn(asks)
        self._admit(turn, asks)
        for name, owned in turn.owned.items():
            self._stick(turn, self._guards[name], turn.open(owned))
        matched = self._matched(turn)
        for name, owned in turn.owned.items():
            guard = self._guards[name]
            self._record(turn, guard, owned, matched)
            turn.say(turn.open(owned), Verdict.HOLD if guard.locked else Verdict.OK)
            guard.save()
        return bytes(cast(list[int], turn.verdicts))

    def _admit(self, turn: _Turn, asks: Sequence[Ask]) -> None:
        """Who may ask, and who gets one answer to everything."""
        first = 0
        for ask in asks:
            guard = self._guards.get(ask.tenant)
            if guard is None:
                raise InternalError("the front asked for a tenant that there is not")
            numbers = range(first, first + len(ask.items))
            first = numbers.stop
            turn.owned.setdefault(ask.tenant, []).extend(numbers)
            if not guard.admits(len(numbers)):
                turn.say(numbers, Verdict.BUSY)
            elif guard.locked:
                turn.say(numbers, Verdict.HOLD)
            elif self._spent(guard):
                turn.say(numbers, Verdict.BUSY)

    def _spent(self, guard: Guard) -> bool:
        """Whether the day's matches of this tenant, or of all, are used up."""
        return guard.spent or sum(each.hits_today for each in self._guards.values()) >= self._hits_per_day

    def _stick(self, turn: _Turn, guard: Guard, items: Sequence[int]) -> None:
        """Items around an earlier match get its answer; the lists are not asked."""
        rows = turn.rows(items) if len(guard) else _NONE
        around = guard.inside(turn.codes.forms[rows])
        for row, hit in zip(rows.tolist(), around.tolist(), strict=True):
            if hit >= 0:
                turn.say([int(turn.codes.items[row])], Verdict.HOLD)
                guard.probe(hit, turn.codes.code(row))

    def _matched(self, turn: _Turn) -> dict[int, Decision]:
        """What the policy makes of the items that are still open, where it asks for anything."""
        decisions = self._examiner.judge(_evidence(turn, turn.open()))
        return {item: decision for item, decision in decisions.items() if decision.action is not Action.NONE}

    def _record(self, turn: _Turn, guard: Guard, owned: Sequence[int], matched: Mapping[int, Decision]) -> None:
        """New matches, one after the other. What lies around one of this batch is no other, and is held with it."""
        new = [item for item in turn.open(owned) if item in matched]
        for item in new:
            self._stick(turn, guard, [item])
            if turn.verdicts[item] is None and self._spent(guard):
                turn.say(owned, Verdict.BUSY)  # what is still open, matched or not
            if turn.verdicts[item] is None:
                turn.say([item], Verdict.HOLD)
                near = any(signal.kind is Kind.PDQ for signal in matched[item].signals)
                guard.hit(self._forms_matched(turn, item) if near else {}, _named(turn.items[item]))
        if new:
            self._stick(turn, guard, turn.open(owned))

    def _forms_matched(self, turn: _Turn, item: int) -> dict[bytes, bytes]:
        """Which forms of its codes are near an entry, each with its code: the centre that others are measured from."""
        rows = turn.rows([item])
        decisions = self._examiner.judge(Evidence({Kind.PDQ: turn.codes.column(rows, rows)}))
        return {
            bytes(turn.codes.forms[row, FORMS.index(signal.form)]): turn.codes.code(row)
            for row, decision in decisions.items()
            for signal in decision.signals
        }


def _named(item: Item) -> bytes:
    """A name for an image that matched by its bytes: asked for again it is no new match."""
    return hashlib.sha256(item.md5 + item.sha1 + item.sha256).digest()


def _whole(code: bytes) -> bytes:
    """A code with its reflections. One that came alone is tried as it is, and turned over its diagonal."""
    if len(code) == 4 * _CODE_BYTES:
        return code
    return code[:_CODE_BYTES] * 4


def _evidence(turn: _Turn, items: Sequence[int]) -> Evidence:
    columns: dict[Kind, Column] = {}
    for kind in _EXACT:
        held = [
            (item, value) for item in items if len(value := getattr(turn.items[item], kind.value)) == kind.size_bytes
        ]
        if held:
            codes = np.frombuffer(b"".join(value for _, value in held), dtype=np.uint8)
            columns[kind] = (
                np.array([item for item, _ in held], dtype=np.int64),
                codes.reshape(len(held), kind.size_bytes),
            )
    rows = turn.rows(items)
    if len(rows):
        columns[Kind.PDQ] = turn.codes.column(rows, turn.codes.items[rows])
    return Evidence(columns)


def answer_all(judge: Judge, channel: int) -> None:
    """Answer batches until the other side closes."""
    frames = Frames(Batch)
    pending: list[Any] = []
    with suppress(BrokenPipeError, ConnectionResetError):
        while (batch := receive(channel, frames, pending)) is not None:
            send(channel, Answer(judge.verdicts(batch.asks)))
    os.close(channel)
