"""What a generator makes of a prompt's grammar: the texts that it reads at the moments of one picture.

Knows the forms that AUTOMATIC1111, Forge and ComfyUI read: ``(x:1.2)``, ``((x))``, ``[x]``, ``[a:b:0.5]``, ``[a|b]``, ``{a|b}``, ``<lora:name:1>``,
``embedding:name``, ``AND``, ``BREAK``, escapes, comments. Promises linear time and no recursion deeper than ``DEPTH_MAX``; what is malformed is read as
text. All groups advance together, as they do in the generator: a moment is which text alternations show, and which schedules have passed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["DEPTH_MAX", "MOMENTS_MAX", "moments"]

DEPTH_MAX: Final = 12
MOMENTS_MAX: Final = 8

_GRAMMAR: Final = re.compile(r"[()\[\]{}<\\]|\b(?:AND|BREAK)\b|/\*|embedding:")
_COMMENT: Final = re.compile(r"/\*[^*]*\*/")
_NETWORK: Final = re.compile(r"<[a-z]{1,16}:([^<>:]{1,200})(?::[^<>]{0,60})?>")
_WEIGHT: Final = re.compile(r":\s{0,4}[-+]?\d{0,4}\.?\d{1,8}\s{0,4}(?=\))")
_KEYWORD: Final = re.compile(r"\b(?:AND|BREAK)\b|embedding:")
_PARTS: Final = re.compile(r"([\[\]{}|:])")
_NUMBER: Final = re.compile(r"\s{0,4}\d{0,4}\.?\d{0,8}\s{0,4}\Z")


@dataclass(slots=True)
class _Group:
    """A bracket: its parts in order, and where ``|`` or ``:`` stood between them."""

    opener: str
    parts: list[str | _Group] = field(default_factory=list)


def moments(text: str) -> tuple[str, ...]:
    """The texts that the generator reads, where grammar makes them differ from what is written; else nothing.

    The first is whole, the others only the clauses in which they differ.
    """
    if not _GRAMMAR.search(text):
        return ()
    plain = _flat(text)
    if not re.search(r"[\[{]", plain):
        return (plain,)
    root, sizes, times = _parse(plain)
    ranks = {time: rank for rank, time in enumerate(sorted(times))}
    turns = [(turn, passed) for passed in range(len(ranks) + 1) for turn in range(max([1, *sizes]))][:MOMENTS_MAX]
    first, *others = turns
    clauses = _Group("", _clauses(root))
    return ("".join(_said(root, first, ranks)), *dict.fromkeys("".join(_said(clauses, turn, ranks)) for turn in others))


def _flat(text: str) -> str:
    """Without what only weighs or names: brackets of emphasis vanish, so that a word that they split is whole again."""
    text = _NETWORK.sub(r" \1 ", _COMMENT.sub("", text))
    text = _KEYWORD.sub(" ", re.sub(r"\\([()\[\]{}])", "", text))
    return re.sub(r"[()]", "", _WEIGHT.sub("", text))


def _parse(text: str) -> tuple[_Group, list[int], set[float]]:
    stack = [_Group("")]
    sizes: list[int] = []
    times: set[float] = set()
    for part in _PARTS.split(text):
        top = stack[-1]
        if part and part in "[{":
            if len(stack) <= DEPTH_MAX:
                stack.append(_Group(part))
        elif part and part in "]}":
            if len(stack) > 1:
                stack.pop()
                stack[-1].parts.append(top)
                sizes.append(1 + top.parts.count("|"))
                times.update(filter(None, [_time(top)]))
        else:
            top.parts.append(part)
    while len(stack) > 1:  # what was not closed is text
        left = stack.pop()
        stack[-1].parts += left.parts
    return stack[0], sizes, times


def _clauses(root: _Group) -> list[str | _Group]:
    """The clauses that moments differ in: what no group touches is read once."""
    clauses: list[list[str | _Group]] = [[]]
    for part in root.parts:
        if isinstance(part, str):
            same, *new = re.split(r"[,\n]", part)
            clauses[-1].append(same)
            clauses += [[piece] for piece in new]
        else:
            clauses[-1].append(part)
    told = [clause for clause in clauses if any(isinstance(part, _Group) for part in clause)]
    return [part for number, clause in enumerate(told) for part in (clause if number == 0 else [",", *clause])]


def _said(group: _Group, moment: tuple[int, int], ranks: dict[float, int]) -> Iterator[str]:
    for part in _chosen(group, moment, ranks) if group.opener else group.parts:
        if isinstance(part, str):
            yield part
        else:
            yield from _said(part, moment, ranks)


def _chosen(group: _Group, moment: tuple[int, int], ranks: dict[float, int]) -> list[str | _Group]:
    if "|" in group.parts:
        options = _split(group.parts, "|")
        return options[moment[0] % len(options)]
    if group.opener == "[" and (time := _time(group)) is not None:
        options = _split(group.parts, ":")[:-1]
        passed = moment[1] > ranks[time]
        before, after = ([], options[0]) if len(options) == 1 else (options[0], options[1])
        return after if passed else before
    return group.parts


def _time(group: _Group) -> float | None:
    """When a schedule changes; None for a group that is none."""
    options = _split(group.parts, ":")
    last = options[-1]
    if (
        group.opener != "["
        or "|" in group.parts
        or len(options) not in {2, 3}
        or len(last) != 1
        or not isinstance(last[0], str)
    ):
        return None
    digits = last[0].strip()
    return float(digits) if digits.strip(".") and _NUMBER.match(digits) else None


def _split(parts: list[str | _Group], sign: str) -> list[list[str | _Group]]:
    out: list[list[str | _Group]] = [[]]
    for part in parts:
        if part == sign:
            out.append([])
        else:
            out[-1].append(part)
    return out
