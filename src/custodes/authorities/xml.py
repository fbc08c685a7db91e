"""XML answers of a service, read as hostile text.

Promises: no document type, no entity, no reference outside; depth and number of elements bounded; errors that name the line and hold none of
the text. What the elements mean is for the adapter.
"""

from __future__ import annotations

from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder  # types; the parser is defusedxml's

from defusedxml.ElementTree import XMLParser

from custodes.authorities.calls import Answer
from custodes.errors import AuthorityError

__all__ = ["DEPTH_MAX", "ELEMENTS_MAX", "read_xml"]

DEPTH_MAX: Final = 32
ELEMENTS_MAX: Final = 2_000_000
"""A page of 1,000 entries, each with the feedback of a hundred members on every fingerprint, has fewer."""


def read_xml(answer: Answer, root: str, namespace: str) -> Element:
    """The root element, which must have this name.

    Elements in ``namespace`` are named without it; those of another keep theirs, so that nobody takes them for ours. Raises AuthorityError.
    """
    parser = XMLParser(target=_Bounded(f"{{{namespace}}}"), forbid_dtd=True)
    try:
        parser.feed(answer.body)
        found: Element = parser.close()
    except ParseError as error:  # from None: what these say, and carry, is of the document
        raise AuthorityError(f"the answer to {answer.path} is not XML: line {error.position[0]}") from None
    except (ValueError, LookupError):  # forbidden by defusedxml, past a bound, an unknown encoding
        line = parser.parser.CurrentLineNumber
        raise AuthorityError(f"the answer to {answer.path} is XML of a kind that is not taken: line {line}") from None
    if found.tag != root:
        raise AuthorityError(f"the answer to {answer.path} is not a {root}")
    return found


class _Bounded(TreeBuilder):
    def __init__(self, namespace: str) -> None:
        super().__init__()
        self._namespace = namespace
        self._depth = 0
        self._elements = 0

    def start(self, tag: Any, attrs: dict[Any, Any], /) -> Element:
        self._depth += 1
        self._elements += 1
        if self._depth > DEPTH_MAX or self._elements > ELEMENTS_MAX:
            raise ValueError("too deep, or too many elements")
        return super().start(tag.removeprefix(self._namespace), attrs)

    def end(self, tag: Any, /) -> Element:
        self._depth -= 1
        return super().end(tag.removeprefix(self._namespace))
