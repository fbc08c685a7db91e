"""The heart: digests in, signals and decisions out, for one image or a million.

Every path to a match, a dataset's columns, a fetched image, a single file, comes through here, so that one question
has one answer. It refuses to work without lists or without a policy: silence must mean that something was compared. It
does no I/O and holds no image; computing digests, and acting on decisions, is for others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from custodes.errors import ConfigError, InternalError
from custodes.lists.matcher import Matcher
from custodes.model import Decision, Digests, Kind, Pdq, Signal
from custodes.policy import DEFAULT_POLICY, Policy

__all__ = ["Evidence", "Examiner"]

Int64s = npt.NDArray[np.int64]
Uint8s = npt.NDArray[np.uint8]
Column = tuple[Int64s, Uint8s] | tuple[Int64s, Uint8s, npt.NDArray[np.integer]]

PDQ_FORMS_BYTES: Final = 4 * Kind.PDQ.size_bytes

_EXACT_OF_BYTES: Final = (Kind.MD5, Kind.SHA1, Kind.SHA256)


@dataclass(frozen=True, slots=True, repr=False)
class Evidence:
    """Digests of a batch of items: kind -> (item int64[n], codes uint8[n, size]).

    For pdq the codes have their reflections behind them, uint8[n, 128], and quality int[n] is a third column.

    Items are the caller's numbers. An item may lack a kind, or have several codes of it, as an animation has.
    """

    columns: Mapping[Kind, Column]

    def __post_init__(self) -> None:
        for kind, column in self.columns.items():
            wanted, size_bytes = (3, PDQ_FORMS_BYTES) if kind is Kind.PDQ else (2, kind.size_bytes)
            items, codes = column[0], column[1]
            lengths = {len(part) for part in column}
            if len(column) != wanted or codes.shape != (len(items), size_bytes) or len(lengths) != 1:
                raise InternalError(f"evidence of kind {kind.value} has the wrong shape")

    @classmethod
    def together(cls, batches: Sequence[tuple[int, Evidence]]) -> Evidence:
        """Several batches as one, each with the number from which its items count on."""
        parts: defaultdict[Kind, list[Column]] = defaultdict(list)
        for first, batch in batches:
            for kind, column in batch.columns.items():
                parts[kind].append(cast(Column, (column[0] + first, *column[1:])))
        joined = {kind: tuple(map(np.concatenate, zip(*columns, strict=True))) for kind, columns in parts.items()}
        return cls(cast(Mapping[Kind, Column], joined))

    @classmethod
    def from_digests(cls, digests: Iterable[tuple[int, Digests]]) -> Evidence:
        """The digests of single images, each with the caller's number for it."""
        pairs = list(digests)
        items = np.array([item for item, _ in pairs], dtype=np.int64)
        columns: dict[Kind, Column] = {}
        for kind in _EXACT_OF_BYTES if pairs else ():
            columns[kind] = (items, _stack([getattr(each, kind.value) for _, each in pairs], kind.size_bytes))
        frames = [(item, frame) for item, each in pairs for frame in each.pdq]
        if frames:
            columns[Kind.PDQ] = _pdq_column(frames)
        return cls(columns)


class Examiner:
    """Judges digests by the loaded lists and the policy."""

    def __init__(self, matcher: Matcher, policy: Policy = DEFAULT_POLICY) -> None:
        if not matcher.kinds:
            raise ConfigError("no hash list is loaded: nothing could be found")
        if not policy.rules:
            raise ConfigError("the policy is empty: nothing could be decided")
        self._matcher = matcher
        self._policy = policy

    @property
    def policy(self) -> Policy:
        """What decides."""
        return self._policy

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of digest that can match: there is no use in computing others."""
        return self._matcher.kinds

    def judge(self, evidence: Evidence) -> dict[int, Decision]:
        """The decision on every item that any list matched, with all its signals, by item.

        Items without a match are absent.
        """
        signals: defaultdict[int, dict[Signal, None]] = defaultdict(dict)
        for kind in self.kinds:
            if kind in evidence.columns:
                for item, signal in self._signals(kind, evidence.columns[kind]):
                    signals[item][signal] = None  # an entry that two frames match alike is said once
        return {item: self._policy.decide(tuple(signals[item])) for item in sorted(signals)}

    def _signals(self, kind: Kind, column: Column) -> Iterator[tuple[int, Signal]]:
        if len(column) == 3:
            yield from self._near(column)
            return
        items, codes = column
        hits = self._matcher.exact(kind, codes)
        for row, entry in zip(hits.rows.tolist(), hits.entries.tolist(), strict=True):
            yield int(items[row]), self._matcher.signal(kind, entry)

    def _near(self, column: tuple[Int64s, Uint8s, npt.NDArray[np.integer]]) -> Iterator[tuple[int, Signal]]:
        """Near matches; of the frames of an item that match one entry, the nearest speaks."""
        items, codes, quality = column
        hits = self._matcher.near(codes, quality)
        order = np.lexsort((hits.forms, hits.distances))
        told: set[tuple[int, int]] = set()
        for hit in order.tolist():
            item, entry = int(items[hits.rows[hit]]), int(hits.entries[hit])
            if (item, entry) not in told:
                told.add((item, entry))
                yield item, self._matcher.signal(Kind.PDQ, entry, int(hits.distances[hit]), int(hits.forms[hit]))


def _stack(values: list[bytes], size_bytes: int) -> Uint8s:
    return np.frombuffer(b"".join(values), dtype=np.uint8).reshape(len(values), size_bytes)


def _pdq_column(frames: list[tuple[int, Pdq]]) -> Column:
    items = np.array([item for item, _ in frames], dtype=np.int64)
    quality = np.array([frame.quality for _, frame in frames], dtype=np.int64)
    # A hash that came without its reflections is tried as it is, and turned over its diagonal.
    whole = [frame.code + (frame.reflections or frame.code * 3) for _, frame in frames]
    return items, _stack(whole, PDQ_FORMS_BYTES), quality
