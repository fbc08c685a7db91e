"""A section in somebody's document: put there, or replaced where it stands, with every other byte as it was.

Promises that to merge the same twice is to merge it once, that what is ours is found by marks that no rendered text can hold on a line of its own, and that a
document in which that cannot be done is refused and not changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from custodes.errors import InputError
from custodes.rendering.croissant import MEMBER

__all__ = ["in_croissant", "in_front", "in_readme"]

_FRONT: Final = re.compile(r"\s*---[ \t]*\r?\n(?:(.*?)\n)??---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_WHITE: Final = re.compile(r"[ \t\n\r]*")
_MARKDOWN: Final = "<!-- custodes {}: {} -->"
_YAML: Final = "# custodes {}: {}"
"""Marks are comments, each on a line of its own: the name of the section, and whether it begins or ends."""

_NOT_ADDED_TO: Final = re.compile(r"^(?:custodes[ \t]*:|[{\[?!&*\"']|\.\.\.)", re.MULTILINE)
"""A key of ours outside the marks, or what is no block of plain keys."""


def in_readme(text: str, name: str, block: str) -> str:
    """A README with a marked section: in its place, else at the end. Raises InputError where marks are not one pair."""
    block = _marked(text, block, (begin := _MARKDOWN.format(name, "begin"), end := _MARKDOWN.format(name, "end")))
    place = _place(text, begin, end)
    if place:
        return text[: place[0]] + block + text[place[1] :]
    line = "\r\n" if "\r\n" in text else "\n"
    return text + ("" if not text else line if text.endswith("\n") else 2 * line) + block


def in_front(text: str, name: str, block: str) -> str:
    """A README with marked lines in the metadata at its top, which is made where there is none. Raises InputError where it is no block of keys."""
    block = _marked(text, block, (begin := _YAML.format(name, "begin"), end := _YAML.format(name, "end")))
    front = _FRONT.match(text)
    if front is None:
        if text.startswith("\ufeff"):
            raise InputError(
                "the README begins with a byte order mark", hint="take it out: nothing reads metadata after it"
            )
        line = "\r\n" if "\r\n" in text else "\n"
        return f"---{line}{block}---{line}" + (line if text else "") + text
    head = front[0]
    place = _place(head, begin, end) or 2 * (head.rstrip().rfind("---"),)
    if wrong := _NOT_ADDED_TO.search(head[: place[0]] + head[place[1] :]):
        raise InputError(
            f"the metadata of the README has a line that begins with {wrong[0]}: nothing can be added to it",
            hint="write it as lines `key: value`, without a key `custodes`",
        )
    return text[: place[0]] + block + text[place[1] :]


def in_croissant(text: str, member: str) -> str:
    """A Croissant document with the member (JSON): in its place, else as its last. Raises InputError for what is no such document."""
    found = list(_members(text))
    if "@context" not in {key for key, _, _ in found}:
        raise InputError("it is no JSON-LD document: it has no @context", hint="give the dataset's croissant.json")
    ours = [(begin, end) for key, begin, end in found if key == MEMBER]
    if len(ours) > 1:
        raise InputError("the document holds the section twice", hint="take one out")
    member = _as_lines_of(text, member.replace("\n", "\n  "))
    if ours:
        return text[: ours[0][0]] + member + text[ours[0][1] :]
    end = found[-1][2]
    return text[:end] + _as_lines_of(text, f",\n  {json.dumps(MEMBER)}: ") + member + text[end:]


def _marked(text: str, block: str, marks: tuple[str, str]) -> str:
    return _as_lines_of(text, f"{marks[0]}\n{block}{marks[1]}\n")


def _place(text: str, begin: str, end: str) -> tuple[int, int] | None:
    """Where the marked block stands, with its marks; None where there is none."""
    begins, ends = (
        [found.span() for found in re.finditer(rf"^{re.escape(mark)}[ \t]*(?:\r?\n|\Z)", text, re.MULTILINE)]
        for mark in (begin, end)
    )
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or ends[0][0] < begins[0][1]:
        raise InputError(
            f"the marks {begin} and {end} are not one pair", hint="take both out, with what stands between"
        )
    return begins[0][0], ends[0][1]


def _as_lines_of(text: str, block: str) -> str:
    """With line ends as the document has them."""
    return block.replace("\n", "\r\n") if "\r\n" in text else block


def _members(text: str) -> Iterator[tuple[str, int, int]]:
    """Each member of the object: its key, and where its value begins and ends."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("it is no JSON, or it is nested too deep") from error
    if not isinstance(whole, dict):
        raise InputError("it is no JSON object")
    decoder, at = json.JSONDecoder(), _after_white(text, 0) + 1
    while text[(at := _after_white(text, at))] != "}":
        key, at = decoder.raw_decode(text, at)
        begin = _after_white(text, _after_white(text, at) + 1)
        _, end = decoder.raw_decode(text, begin)
        yield key, begin, end
        at = _after_white(text, end)
        at += text[at] == ","


def _after_white(text: str, at: int) -> int:
    found = _WHITE.match(text, at)
    assert found is not None  # it matches nothing too
    return found.end()
