"""What the generator says of a run on the gateway's own socket, and what of it a client gets: a few words, figures, and ids that the client gave itself.

Promises that no string of the generator's reaches a client, that events of other runs and broadcasts are nothing, and that of binary frames only whole pictures
count which a node sends that saves them: all others are previews, and dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgspec

__all__ = ["End", "Event", "Run", "binary", "event"]

Event = dict[str, Any]
_HEAD: Final = struct.Struct(">II")
_PICTURE, _PNG, _JPEG = 1, 2, 1
_FIGURE_MAX: Final = 1 << 53
_STATES: Final = frozenset({"pending", "running", "finished", "error"})


class End(StrEnum):
    """How a run ended."""

    SUCCESS = "success"
    ERROR = "error"
    INTERRUPTED = "interrupted"


class _Said(msgspec.Struct, frozen=True):
    type: str
    data: dict[str, Any]


def event(kind: str, **data: object) -> Event:
    """An event as clients know it."""
    return {"type": kind, "data": data}


def binary(content: bytes, *, png: bool) -> bytes:
    """A picture as a frame."""
    return _HEAD.pack(_PICTURE, _PNG if png else _JPEG) + content


@dataclass(slots=True)
class Run:
    """One run, heard. ``theirs``: its id at the generator; ``ours``: its id as the client knows it; ``showing``: nodes that send pictures."""

    theirs: str
    ours: str
    nodes: Collection[str]
    showing: Collection[str]
    bytes_max: int
    pictures_max: int
    pictures: list[tuple[str, bytes]] = field(default_factory=list, repr=False)
    end: End | None = None
    over: bool = False
    started: bool = False
    failed_at: str = ""
    _at: str = ""
    _size: int = 0

    def text(self, message: str) -> Sequence[Event]:
        """What the client hears of a message: mostly one event, or none. Raises ValueError for one that cannot be read."""
        try:
            said = msgspec.json.decode(message, type=_Said)
        except (msgspec.MsgspecError, RecursionError):
            raise ValueError("not an event") from None
        if said.data.get("prompt_id") != self.theirs:
            return ()
        heard = _HEARD.get(said.type)
        return heard(self, said.data) if heard is not None else ()

    def frame(self, content: bytes) -> None:
        """A picture, if it is one of this run's. Raises ValueError where there are too many."""
        if not self._wanted(content):
            return
        self._size += len(content)
        if self._size > self.bytes_max or len(self.pictures) >= self.pictures_max:
            raise ValueError("more pictures than can be looked at")
        self.pictures.append((self._at, content[_HEAD.size :]))

    def _wanted(self, content: bytes) -> bool:
        """Whether it is a whole picture of a node that saves, and not a preview."""
        return self._at in self.showing and content[: _HEAD.size] == _HEAD.pack(_PICTURE, _PNG)

    # -- events by their types

    def _executing(self, data: Mapping[str, Any]) -> Sequence[Event]:
        node = data.get("node")
        if node is None:
            self.over, self.end = True, self.end or End.SUCCESS
            return ()
        self._at = node if isinstance(node, str) else ""
        return (self.at(self._at),) if self._at in self.nodes else ()

    def at(self, node: str) -> Event:
        """That a node is executed."""
        return event("executing", node=node, display_node=node, prompt_id=self.ours)

    def _start(self, _: Mapping[str, Any]) -> Sequence[Event]:
        self.started = True
        return (event("execution_start", prompt_id=self.ours),)

    def _cached(self, data: Mapping[str, Any]) -> Sequence[Event]:
        given = data.get("nodes")
        nodes = [node for node in given if node in self.nodes] if isinstance(given, list) else []
        return (event("execution_cached", nodes=nodes, prompt_id=self.ours),)

    def _progress(self, data: Mapping[str, Any]) -> Sequence[Event]:
        node = data.get("node")
        if not isinstance(node, str) or node not in self.nodes:
            return ()
        value, most = _figure(data.get("value")), _figure(data.get("max"))
        return (event("progress", value=value, max=most, node=node, prompt_id=self.ours),)

    def _states(self, data: Mapping[str, Any]) -> Sequence[Event]:
        given = data.get("nodes")
        nodes = {
            name: {
                "value": _figure(state.get("value")),
                "max": _figure(state.get("max")),
                "state": state["state"],
                "node_id": name,
                "display_node_id": name,
                "real_node_id": name,
                "parent_node_id": None,
                "prompt_id": self.ours,
            }
            for name, state in (given.items() if isinstance(given, dict) else ())
            if name in self.nodes and isinstance(state, dict) and _known_state(state.get("state"))
        }
        return (event("progress_state", nodes=nodes, prompt_id=self.ours),)

    def _succeeded(self, _: Mapping[str, Any]) -> Sequence[Event]:
        self.end = self.end or End.SUCCESS
        return ()

    def _failed(self, data: Mapping[str, Any]) -> Sequence[Event]:
        self.end, self.failed_at = End.ERROR, self._node(data)
        return ()

    def _interrupted(self, data: Mapping[str, Any]) -> Sequence[Event]:
        self.end, self.failed_at = End.INTERRUPTED, self._node(data)
        return ()

    def _node(self, data: Mapping[str, Any]) -> str:
        node = data.get("node_id")
        return node if isinstance(node, str) and node in self.nodes else ""


def _known_state(value: object) -> bool:
    return isinstance(value, str) and value in _STATES


def _figure(value: object) -> float:
    """A whole number, or a share; nothing that could hold more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return round(value, 3) if abs(value) < _FIGURE_MAX else 0


_HEARD: Final = {
    "execution_start": Run._start,
    "execution_cached": Run._cached,
    "executing": Run._executing,
    "progress": Run._progress,
    "progress_state": Run._states,
    "execution_success": Run._succeeded,
    "execution_error": Run._failed,
    "execution_interrupted": Run._interrupted,
}
"""The types that are known. ``executed`` and ``status`` are the gateway's own to say."""
