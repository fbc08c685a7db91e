"""A graph as it came, checked node by node; then the same graph with every computed value in place, which is what may go on.

Promises that every node and every input is one that the catalogue names, that there are no circles, that a prompt, the name of a model and the name of a file
are plain strings in the end, and that all of it takes time linear in the graph. What the strings say is for ``asking``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from custodes.gateway.dialects.comfyui.catalogue import Catalogue, Node
from custodes.gateway.dialects.comfyui.folding import CHARS_MAX, Scalar, fold
from custodes.gateway.door import Denial, DeniedError

__all__ = ["NODES_MAX", "Graph", "GraphError", "Link", "Piece", "read", "settled"]

NODES_MAX: Final = 512
LITERALS_CHARS_MAX: Final = 1_000_000
_ID: Final = re.compile(r"[A-Za-z0-9_:.\-]{1,64}")
_CLASS: Final = re.compile(r"[A-Za-z0-9_ +|()/.\-]{1,80}")


class GraphError(DeniedError):
    """A graph is not run. ``problem``: ComfyUI's word for it; ``node``: which node, if it is one."""

    def __init__(self, problem: str, message: str, *, node: str = "", class_type: str = "", field: str = "") -> None:
        denial = Denial.ROUTE if problem in ("invalid_prompt", "unknown_node", "unknown_input") else Denial.MALFORMED
        super().__init__(denial, message, field=field)
        self.problem, self.node, self.class_type = problem, node, class_type


class Link(NamedTuple):
    """An input that another node gives."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class Piece:
    """One node of a graph."""

    class_type: str
    node: Node
    inputs: Mapping[str, Scalar | Link] = field(repr=False)

    def links(self) -> Iterator[tuple[str, Link]]:
        """Inputs that other nodes give."""
        return ((name, value) for name, value in self.inputs.items() if isinstance(value, Link))

    def literals(self) -> Iterator[tuple[str, str]]:
        """Inputs that are strings."""
        return ((name, value) for name, value in self.inputs.items() if isinstance(value, str))


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by their ids, those first that others need."""

    pieces: Mapping[str, Piece]


# -- reading


def read(prompt: object, catalogue: Catalogue) -> Graph:
    """The graph. Raises GraphError."""
    if not isinstance(prompt, Mapping) or not prompt:
        raise GraphError("no_prompt", "no prompt was given")
    if len(prompt) > NODES_MAX:
        raise GraphError("invalid_prompt", f"a graph has at most {NODES_MAX} nodes here")
    pieces = {_id(name): _piece(name, given, catalogue) for name, given in prompt.items()}
    if sum(len(value) for piece in pieces.values() for _, value in piece.literals()) > LITERALS_CHARS_MAX:
        raise GraphError("invalid_prompt", "the texts of the graph are too long")
    for name, piece in pieces.items():
        for where, link in piece.links():
            if link.node not in pieces:
                raise GraphError(
                    "bad_linked_input",
                    "an input is linked to a node that is not there",
                    node=name,
                    class_type=piece.class_type,
                    field=where,
                )
    if not any(piece.node.saves for piece in pieces.values()):
        raise GraphError("prompt_no_outputs", "Prompt has no outputs")
    return Graph({name: pieces[name] for name in _order(pieces)})


def _id(name: object) -> str:
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise GraphError("invalid_prompt", "the id of a node is not one that can be taken")
    return name


def _piece(name: str, given: object, catalogue: Catalogue) -> Piece:
    if not isinstance(given, Mapping) or not set(given) <= {"class_type", "inputs", "_meta", "is_changed"}:
        raise GraphError("invalid_prompt", "a node is not as nodes are", node=name)
    class_type, inputs = given.get("class_type"), given.get("inputs", {})
    if not isinstance(class_type, str) or class_type not in catalogue.nodes:
        shown = class_type if isinstance(class_type, str) and _CLASS.fullmatch(class_type) else "?"
        raise GraphError("unknown_node", "this kind of node is not known here", node=name, class_type=shown)
    if not isinstance(inputs, Mapping):
        raise GraphError("invalid_prompt", "a node is not as nodes are", node=name, class_type=class_type)
    node = catalogue.nodes[class_type]
    if not set(inputs) <= node.known:
        raise GraphError("unknown_input", "an input of this node is not known here", node=name, class_type=class_type)
    values = {
        where: _value(name, class_type, where, value) for where, value in inputs.items() if where not in node.kept
    }
    return Piece(class_type, node, values)


def _value(name: str, class_type: str, where: str, value: object) -> Scalar | Link:
    if isinstance(value, list) and len(value) == len(Link._fields):
        node, slot = value
        if isinstance(node, str) and isinstance(slot, int) and not isinstance(slot, bool) and slot >= 0:
            return Link(node, slot)
    if isinstance(value, str) and len(value) > CHARS_MAX:
        raise GraphError("invalid_prompt", "a text is too long", node=name, class_type=class_type, field=where)
    if value is None or isinstance(value, str | int | float):
        return value
    raise GraphError(
        "invalid_input_type", "an input is neither a value nor a link", node=name, class_type=class_type, field=where
    )


def _order(pieces: Mapping[str, Piece]) -> Sequence[str]:
    """Ids in the order of evaluation. Raises GraphError for a circle."""
    waits = {name: {link.node for _, link in piece.links()} for name, piece in pieces.items()}
    needed: dict[str, list[str]] = {name: [] for name in pieces}
    for name, others in waits.items():
        for other in others:
            needed[other].append(name)
    ready = [name for name in pieces if not waits[name]]
    for name in ready:  # it grows while it is read
        for other in needed[name]:
            waits[other].discard(name)
            if not waits[other]:
                ready.append(other)
    if len(ready) < len(pieces):
        raise GraphError("invalid_prompt", "the graph goes round in a circle")
    return ready


# -- computing


def settled(graph: Graph) -> Graph:
    """The graph with values where values were computed, without the nodes that computed them. Raises GraphError."""
    values: dict[str, Scalar] = {}
    pieces: dict[str, Piece] = {}
    for name, piece in graph.pieces.items():
        inputs = {
            where: values[value.node] if isinstance(value, Link) and value.node in values else value
            for where, value in piece.inputs.items()
        }
        if piece.node.folds:
            values[name] = _folded(name, piece, inputs)
        else:
            pieces[name] = _plain(name, replace(piece, inputs=inputs))
    return Graph(pieces)


def _folded(name: str, piece: Piece, inputs: Mapping[str, Scalar | Link]) -> Scalar:
    try:
        return fold(piece.class_type, inputs)
    except ValueError:
        raise GraphError(
            "invalid_input_type",
            "what this node computes cannot be known before it is run",
            node=name,
            class_type=piece.class_type,
        ) from None


def _plain(name: str, piece: Piece) -> Piece:
    """Prompts, names and files are strings by now. Raises GraphError."""
    for where in (*piece.node.texts, *piece.node.names, *piece.node.files):
        if not isinstance(piece.inputs.get(where), str):
            raise GraphError(
                "invalid_input_type",
                "this input must be a text that is known before the graph is run",
                node=name,
                class_type=piece.class_type,
                field=where,
            )
    return piece
