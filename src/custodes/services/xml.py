"""XML answers of a service, read as hostile text.

Promises: no document type, no entity, no reference outside; depth and number of elements bounded; errors that name the line and hold none of
the text. What the elements mean is for the adapter.
"""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, ParseError, XMLParser

from custodes.errors import AuthorityError
from custodes.services.calls import Answer

__all__ = ["DEPTH_MAX", "ELEMENTS_MAX", "read_xml"]

_LINE_END: Final = b"\n"
_DOCUMENT_TYPE: Final = b"<!DOCTYPE"
"""XML 1.0 section 2.8: it has no other spelling in UTF-8, and without one a document has no entities of its own."""
_NUL: Final = b"\0"
"""In every document in UTF-16, which expat takes by its byte order mark whatever it is told, and in no other."""

DEPTH_MAX: Final = 32
ELEMENTS_MAX: Final = 2_000_000
"""A page of 1,000 entries, each with the feedback of a hundred members on every fingerprint, has fewer."""


def read_xml(answer: Answer, roots: tuple[str, ...], namespace: str = "") -> Element:
    """The root element, which must have one of these names.

    Elements in ``namespace`` are named without it; those of another keep theirs, so that nobody takes them for ours. Raises AuthorityError.
    """
    refused = f"the answer to {answer.path} is XML of a kind that is not taken"
    if answer.body.count(b"<") > 2 * ELEMENTS_MAX:  # every element opens with one
        raise AuthorityError(f"{refused}: it has too many elements")
    for forbidden in (_NUL, _DOCUMENT_TYPE):
        if (at := answer.body.find(forbidden)) >= 0:
            raise AuthorityError(f"{refused}: line {1 + answer.body.count(_LINE_END, 0, at)}")
    parser = XMLParser(encoding="utf-8")  # noqa: S314 - what makes it unsafe was refused above
    try:
        parser.feed(answer.body)
        found: Element = parser.close()
    except ParseError as error:  # from None: what these say, and carry, is of the document
        raise AuthorityError(f"the answer to {answer.path} is not XML: line {error.position[0]}") from None
    _name(found, f"{{{namespace}}}", answer.path)
    if found.tag not in roots:
        raise AuthorityError(f"the answer to {answer.path} is not a {' or '.join(roots)}")
    return found


def _name(root: Element, namespace: str, path: str) -> None:
    """Take the namespace off the names, level by level."""
    level, depth, elements = [root], 1, 1
    while level:
        if depth > DEPTH_MAX or elements > ELEMENTS_MAX:
            raise AuthorityError(f"the answer to {path} is XML that is too deep, or has too many elements")
        for element in level:
            element.tag = element.tag.removeprefix(namespace)
        level = [child for element in level for child in element]
        depth, elements = depth + 1, elements + len(level)
