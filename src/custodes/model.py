"""The vocabulary that every part speaks: kinds of digest, content, outcomes, entries, signals, decisions.

Values only, all frozen, importing nothing of ours. Anything secret (content, entry values, URLs) prints as what it is, never as its value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn

import msgspec

__all__ = [
    "MATCHED_KINDS",
    "PDQ_BITS",
    "REASONS",
    "URL_KINDS",
    "Action",
    "Content",
    "Decision",
    "Digests",
    "Entry",
    "Kind",
    "Meaning",
    "Outcome",
    "OutcomeName",
    "Pdq",
    "Reason",
    "Role",
    "Signal",
]

PDQ_BITS: Final = 256


class Kind(StrEnum):
    """A kind of digest. A kind says what was digested and how; two kinds are never compared with each other."""

    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"
    PDQ = "pdq"
    URL_RAW_MD5 = "url/raw-md5"
    URL_RAW_SHA1 = "url/raw-sha1"
    URL_RAW_SHA256 = "url/raw-sha256"
    URL_NORMALISED_MD5 = "url/normalised-md5"
    URL_NORMALISED_SHA1 = "url/normalised-sha1"
    URL_NORMALISED_SHA256 = "url/normalised-sha256"
    PHOTODNA = "photodna"
    """Opaque: carried for those who are licensed to compare it, and never compared here."""

    @property
    def size_bytes(self) -> int:
        """Length of a value of this kind: 16, 20, 32 or (PhotoDNA) 144 bytes."""
        return _SIZES_BYTES[self]


_SIZES_BYTES: Final = {
    kind: {"md5": 16, "sha1": 20, "sha256": 32, "pdq": 32, "photodna": 144}[kind.value.rpartition("-")[2]]
    for kind in Kind
}
URL_KINDS: Final = tuple(kind for kind in Kind if kind.value.startswith("url/"))
MATCHED_KINDS: Final = tuple(kind for kind in Kind if kind is not Kind.PHOTODNA)
"""The kinds that are compared."""


class Content:
    """Bytes of an image on their way through. Prints as a length; cannot be pickled or copied; ``reveal()`` is the word to grep for."""

    __slots__ = ("_bytes",)

    def __init__(self, data: bytes) -> None:
        self._bytes = data

    def reveal(self) -> bytes:
        """The bytes themselves. Call it only where they are digested or decoded."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._bytes)

    def __repr__(self) -> str:
        return f"<Content {len(self._bytes)} bytes>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("content is never pickled or copied")


class OutcomeName(StrEnum):
    """How the examination of an item ended. Every item has exactly one; only ``examined`` means that the image was decoded and digested."""

    EXAMINED = "examined"
    UNAVAILABLE = "unavailable"
    UNDECODABLE = "undecodable"
    FAILED = "failed"


class Reason(StrEnum):
    """Why an outcome is not a plain ``examined``. The list is closed: nothing is ever reported as free text."""

    # examined
    FULL = "full"
    PARTIAL_DAMAGED = "partial_damaged"
    PARTIAL_FRAMES = "partial_frames"
    COLUMNS_ONLY = "columns_only"
    # unavailable
    NO_URL = "no_url"
    BAD_URL = "bad_url"
    BLOCKED_SCHEME = "blocked_scheme"
    BLOCKED_PORT = "blocked_port"
    BLOCKED_ADDRESS = "blocked_address"
    BLOCKED_USERINFO = "blocked_userinfo"
    DNS = "dns"
    REFUSED = "refused"
    RESET = "reset"
    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect_timeout"
    TIMEOUT = "timeout"
    TOO_SLOW = "too_slow"
    TLS = "tls"
    PROTOCOL = "protocol"
    HTTP_401 = "http_401"
    HTTP_403 = "http_403"
    HTTP_404 = "http_404"
    HTTP_410 = "http_410"
    HTTP_429 = "http_429"
    HTTP_451 = "http_451"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    HTTP_OTHER = "http_other"
    REDIRECT_LIMIT = "redirect_limit"
    REDIRECT_BAD = "redirect_bad"
    TOO_LARGE = "too_large"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    ENCODED = "encoded"
    NOT_IMAGE = "not_image"
    ROBOTS = "robots"
    NOAI = "noai"
    NO_DIGEST = "no_digest"
    # undecodable
    UNKNOWN_FORMAT = "unknown_format"
    BROKEN = "broken"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_MANY_SCANS = "too_many_scans"
    DECODE_TIMEOUT = "decode_timeout"
    DECODE_MEMORY = "decode_memory"
    DECODER_DIED = "decoder_died"
    # failed
    MALFORMED_ROW = "malformed_row"
    READ_ERROR = "read_error"
    CARRIER_DIED = "carrier_died"
    INTERNAL = "internal"


_EXAMINED = (Reason.FULL, Reason.PARTIAL_DAMAGED, Reason.PARTIAL_FRAMES, Reason.COLUMNS_ONLY)
_UNDECODABLE = (
    Reason.UNKNOWN_FORMAT,
    Reason.BROKEN,
    Reason.TOO_MANY_PIXELS,
    Reason.TOO_MANY_SCANS,
    Reason.DECODE_TIMEOUT,
    Reason.DECODE_MEMORY,
    Reason.DECODER_DIED,
)
_FAILED = (Reason.MALFORMED_ROW, Reason.READ_ERROR, Reason.CARRIER_DIED, Reason.INTERNAL)

REASONS: Final[dict[OutcomeName, tuple[Reason, ...]]] = {
    OutcomeName.EXAMINED: _EXAMINED,
    OutcomeName.UNAVAILABLE: tuple(r for r in Reason if r not in _EXAMINED + _UNDECODABLE + _FAILED),
    OutcomeName.UNDECODABLE: _UNDECODABLE,
    OutcomeName.FAILED: _FAILED,
}
"""Which reasons belong to which outcome. Each reason belongs to exactly one, so a reason alone names its outcome."""

_OUTCOME_OF: Final = {reason: name for name, reasons in REASONS.items() for reason in reasons}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The one outcome of an item, named by its reason."""

    reason: Reason

    @property
    def name(self) -> OutcomeName:
        """The outcome that the reason belongs to."""
        return _OUTCOME_OF[self.reason]


@dataclass(frozen=True, slots=True)
class Pdq:
    """A PDQ hash: 32 bytes, most significant bit first as in its hex form, with its quality 0 to 100 and the frame it came from.

    ``reflections`` are the codes of the image flipped in x, in y and in both, 96 bytes; empty where only the code is known.
    """

    code: bytes
    quality: int
    frame: int = 0
    reflections: bytes = b""


@dataclass(frozen=True, slots=True)
class Digests:
    """What was computed of one item's bytes. ``pdq`` is empty when nothing decoded; its first element is the first frame."""

    md5: bytes
    sha1: bytes
    sha256: bytes
    pdq: tuple[Pdq, ...] = ()


class Role(StrEnum):
    """What an entry is for: report it, search near it, or never report what looks like it."""

    CONFIRMED = "confirmed"
    SEED = "seed"
    NEGATIVE = "negative"


class Meaning(StrEnum):
    """Our classes of what an authority says of a confirmed entry. Each list's own categories are mapped to them by a dated table."""

    CSAM = "csam"
    """Confirmed child abuse material."""
    EXPLOITATIVE = "exploitative"
    """Exploitative or harmful, but not illegal by itself."""
    NCII = "ncii"
    """Intimate, shared without consent; of adults."""
    SUSPECTED = "suspected"
    """Suspected by its list, not confirmed."""
    UNMAPPED = "unmapped"
    """What its list says of it is not understood: held, never acted on."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One hash on a list, as its authority shares it. ``id`` is the authority's own; category and assurance are kept as given.

    A struct, because lists have ten million of them.
    """

    kind: Kind
    value: bytes
    id: str
    category: str = ""
    assurance: str = ""
    role: Role = Role.CONFIRMED

    def __repr__(self) -> str:
        return f"<Entry {self.kind.value} {self.role.value}>"


@dataclass(frozen=True, slots=True)
class Signal:
    """What one detector says of one item. ``distance`` is in bits, 0 for exact kinds; ``form`` names the dihedral form that matched."""

    list_id: str
    list_version: str
    entry_id: str
    kind: Kind
    category: str
    assurance: str
    role: Role
    distance: int = 0
    form: str = "original"
    meaning: Meaning = Meaning.CSAM

    def __repr__(self) -> str:
        return f"<Signal {self.kind.value} {self.role.value}>"


class Action(StrEnum):
    """What the policy asks for."""

    NONE = "none"
    HOLD = "hold"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy makes of an item's signals, and the rule that it comes from."""

    action: Action
    rule: str
    signals: tuple[Signal, ...] = ()
