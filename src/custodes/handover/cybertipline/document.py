"""XML documents from ordered tables: what a table does not have cannot be said, and its order is the document's.

``made`` gives the bytes of a document whose every field kept its rule, or raises an InputError that names the field and never what stands in it.
The tables themselves are in ``tables``; what is said is for ``report`` and ``files``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias
from xml.etree.ElementTree import Element as Node
from xml.etree.ElementTree import SubElement, tostring

from custodes.errors import InputError, InternalError
from custodes.handover.cybertipline.rules import Rule
from custodes.handover.cybertipline.text import legal

__all__ = ["Content", "Element", "always", "fits", "made", "many", "maybe", "one"]

Content: TypeAlias = "str | Mapping[str, Content | Sequence[Content]]"
"""What stands in an element: its text; or its children by name, its attributes by ``@name`` and its text by ``""``."""

_SCHEMA: Final = "https://report.cybertip.org/ispws/xsd"
_INSTANCE: Final = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"


@dataclass(frozen=True, slots=True)
class Element:
    """An element: a rule for its text, its one text (``str``), or its children in their order. ``most`` 0: as many as there are.

    ``attribute``: the one that it must have, and its rule.
    """

    name: str
    holds: Rule | str | tuple[Element, ...]
    least: int = 0
    most: int = 1
    attribute: tuple[str, Rule] | None = None


def one(name: str, holds: Rule | tuple[Element, ...]) -> Element:
    """Exactly once."""
    return Element(name, holds, least=1)


def always(name: str, said: str) -> Element:
    """Exactly once, with this text, which nobody can set."""
    return Element(name, said, least=1)


def maybe(name: str, holds: Rule | tuple[Element, ...]) -> Element:
    """Once or not."""
    return Element(name, holds)


def many(name: str, holds: Rule | tuple[Element, ...], attribute: tuple[str, Rule] | None = None) -> Element:
    """Any number of times."""
    return Element(name, holds, most=0, attribute=attribute)


def made(table: Element, content: Content, now: datetime) -> bytes:
    """The document. ``now``: what the service's clock says, for times must have been. Raises InputError."""
    root = Node(table.name)
    root.set(_INSTANCE, _SCHEMA)
    _fill(root, table, content, (now, table.name))
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def fits(table: Element, path: str, text: str, now: datetime) -> bool:
    """Whether a text keeps the rule of the field at this path, such as ``reporter/legalURL``."""
    for name in path.split("/"):
        assert isinstance(table.holds, tuple)
        table = next(child for child in table.holds if child.name == name)
    assert callable(table.holds)
    return not table.holds(legal(text), now)


def _fill(node: Node, of: Element, content: Content, at: tuple[datetime, str]) -> None:
    now, path = at
    left: dict[str, Content | Sequence[Content]] = {"": content} if isinstance(content, str) else dict(content)
    if of.attribute:
        name, rule = of.attribute
        node.set(name, _kept(left.pop(f"@{name}", ""), rule, (now, f"{path}/@{name}")))
    if callable(of.holds):
        node.text = _kept(left.pop("", ""), of.holds, at)
    else:
        assert not isinstance(of.holds, str)
        for child in of.holds:
            _add(node, child, left, at)
        if not len(node):
            raise InputError(f"the report cannot be sent: {path} is empty")
    if left:
        raise InternalError(f"there is no such thing in {path}: {', '.join(sorted(left))}")


def _add(node: Node, child: Element, left: dict[str, Content | Sequence[Content]], at: tuple[datetime, str]) -> None:
    now, path = at[0], f"{at[1]}/{child.name}"
    if isinstance(child.holds, str):
        SubElement(node, child.name).text = child.holds
        return
    given = left.pop(child.name, ())
    contents: Sequence[Content] = [given] if isinstance(given, str | Mapping) else given
    if len(contents) < child.least:
        raise InputError(f"the report cannot be sent: it lacks {path}")
    if child.most and len(contents) > child.most:
        raise InputError(f"the report cannot be sent: {path} stands more than {child.most} times")
    for each in contents:
        _fill(SubElement(node, child.name), child, each, (now, path))


def _kept(given: Content | Sequence[Content], rule: Rule, at: tuple[datetime, str]) -> str:
    now, path = at
    if not isinstance(given, str):
        raise InternalError(f"{path} holds text alone")
    said = legal(given)
    if wrong := rule(said, now):
        raise InputError(f"the report cannot be sent: {path} {wrong}")
    return said
