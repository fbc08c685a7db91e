"""What a gateway withheld, as it goes by a route: one image, one name, one place. Beside an incident the other thing that can be handed over.

Promises that a route finds in a parcel what it takes, and no more of the image than that: the file, for an authority's API that is given files; the sealed file
as it lies, for those who open it themselves; or neither, for those who are only told. How each sort goes is for ``routes``.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from custodes.errors import InternalError
from custodes.handover.cybertipline.withheld import Withheld
from custodes.handover.incident import Incident
from custodes.handover.words import check_incident

__all__ = ["SEALED_SUFFIX", "Handed", "Parcel", "Takes", "found_in", "handed_in", "payload_of"]

Takes = Literal["file", "sealed", "facts"]
"""What of a withheld image a route takes: the file itself, the file sealed to the authority, or what is known of it."""

SEALED_SUFFIX: Final = ".withheld.age"
"""Of the file that a gateway seals."""
_MARK: Final = b"custodes-parcel/1\n"


class Parcel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One withheld image. ``told``: what is known of it, with its file where the route takes that; ``sealed``: the sealed file, where it takes this.

    ``told`` is None of a file that lay sealed, with nothing noted beside it: it cannot be opened here.
    """

    id: str
    demo: bool
    told: Withheld | None = None
    rule: str = ""
    sealed: bytes = b""

    def __post_init__(self) -> None:
        check_incident(self.id)

    @property
    def aliases(self) -> tuple[str, ...]:
        """None: it has one name."""
        return ()

    def __repr__(self) -> str:
        return "<Parcel>"


Handed = Incident | Parcel


def payload_of(of: Handed) -> bytes:
    """As it waits in the outbox."""
    return msgspec.json.encode(of) if isinstance(of, Incident) else _MARK + msgspec.msgpack.encode(of)


def handed_in(payload: bytes) -> Handed:
    """What ``payload_of`` wrote. Raises InternalError."""
    try:
        if payload.startswith(_MARK):
            return msgspec.msgpack.decode(memoryview(payload)[len(_MARK) :], type=Parcel)
        return msgspec.json.decode(payload, type=Incident)
    except msgspec.MsgspecError:  # cut: its text may quote what is in it
        raise InternalError("what waits in the outbox is neither an incident nor a parcel") from None


def found_in(of: Handed) -> list[str]:
    """The findings that are in it; of a parcel itself."""
    return sorted(place.finding for place in of.places) if isinstance(of, Incident) else [of.id]
