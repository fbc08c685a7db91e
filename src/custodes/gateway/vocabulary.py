"""The words that the gateway's parts share: what is asked, what was noticed of it, what is done about it.

Promises that nothing here prints a prompt or an image: values that hold them show their lengths. Noticing is for ``screening`` and ``inspection``,
what follows is for ``rules``, how a client says and hears it is for ``dialects``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Action",
    "Asked",
    "Category",
    "Fact",
    "Grade",
    "Name",
    "NameKind",
    "Picture",
    "PictureRole",
    "Stage",
    "Text",
    "TextRole",
    "Verdict",
]


class TextRole(StrEnum):
    """What a text is to the generator."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    SECONDARY = "secondary"
    """A further prompt: of a second pass, a region, an extension."""
    STYLE = "style"
    GRAPH = "graph"
    """A string in a graph of nodes, or what a node makes of strings."""
    METADATA = "metadata"
    """What the generator may read back as a prompt: infotext, a caption."""
    OTHER = "other"
    """Any other string of the request: no string is passed on unseen."""


class PictureRole(StrEnum):
    """What a picture of the request is to the generator."""

    INIT = "init"
    MASK = "mask"
    MARKUP = "markup"
    CONTROL = "control"
    FACE = "face"
    REFERENCE = "reference"


class NameKind(StrEnum):
    """What a name of the request names."""

    MODEL = "model"
    ADAPTER = "adapter"
    EMBEDDING = "embedding"
    NODE = "node"
    SCRIPT = "script"


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a request. ``where``: its field, as the client named it; never a part of the text."""

    role: TextRole
    value: str
    where: str = ""

    def __repr__(self) -> str:
        return f"<Text {self.role} {self.where} {len(self.value)} characters>"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a request, as its bytes came."""

    role: PictureRole
    content: bytes
    where: str = ""

    def __repr__(self) -> str:
        return f"<Picture {self.role} {self.where} {len(self.content)} bytes>"


@dataclass(frozen=True, slots=True)
class Name:
    """A model, adapter, embedding, node or script that the request names."""

    kind: NameKind
    value: str

    def __repr__(self) -> str:
        return f"<Name {self.kind} {len(self.value)} characters>"


@dataclass(frozen=True, slots=True)
class Asked:
    """All of a request that can decide what is made: every text, every picture, every name. ``count``: images that may come back.

    ``fixed``: other texts would not take the place of these, so what would be rewritten is refused.
    """

    texts: tuple[Text, ...] = ()
    pictures: tuple[Picture, ...] = ()
    names: tuple[Name, ...] = ()
    count: int = 1
    fixed: bool = False


class Stage(StrEnum):
    """Where something was noticed (OpenAI: ``moderation_stage``)."""

    INPUT = "input"
    OUTPUT = "output"


class Grade(StrEnum):
    """How far a refusal may be bent. ``hard``: never overridden, and the caller learns neither term nor rule."""

    HARD = "hard"
    SOFT = "soft"
    NONE = "none"


class Category(StrEnum):
    """What a caller may be told, coarsely. ``safety`` is all that is said of anything hard."""

    SAFETY = "safety"
    SEXUAL = "sexual"
    PERSON = "real_person"
    MODEL = "model"
    UNREADABLE = "unreadable"
    OBFUSCATION = "obfuscation"
    MODERATION = "moderation"
    """What a configured model behind an endpoint said."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a check noticed. ``name`` is what rules ask for, such as ``context:umbrella`` or ``known:report``; ``by``: the check and its version.

    ``score``: 0 to 1, of detectors. ``where``: the field of the request, or the number of the output; never content.
    """

    name: str
    stage: Stage
    by: str
    score: float | None = None
    where: str = ""


class Action(StrEnum):
    """What is done, the mildest first."""

    ALLOW = "allow"
    REWRITE = "rewrite"
    REFUSE = "refuse"
    """Of a request: it goes no further."""
    WITHHOLD = "withhold"
    """Of an image: it does not leave."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules made of all facts of one stage. ``rule``: which decided, for the ledger, never for the caller.

    ``report``: it is handed over; ``strikes``: so many count against the caller; ``facts``: those that the rule asked for.
    """

    action: Action
    rule: str
    grade: Grade = Grade.NONE
    category: Category = Category.SAFETY
    report: bool = False
    strikes: int = 0
    facts: tuple[Fact, ...] = ()
