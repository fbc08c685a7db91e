"""What a graph asks for: every text with its role, every name, every file; and the graph as the generator is given it.

Promises that the generator is given exactly the texts that were screened, under no name of the client's, and that its pictures have one way out: a node which
saves pictures is sent as one that puts them on the gateway's own socket, so that the generator keeps no file of what was withheld. A graph may turn a picture
into something that no check knows again (inverted, cut up, one colour of three): so the picture as it was drawn is put on that socket as well, to be judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from custodes.gateway.dialects.comfyui.catalogue import MODELS, Catalogue, Saves, kind_of
from custodes.gateway.dialects.comfyui.graph import Graph, GraphError, Link, Piece, read, settled
from custodes.gateway.vocabulary import Name, NameKind, PictureRole, Text, TextRole

__all__ = ["JOINED", "WITNESS", "Loaded", "Offer", "Plan", "check_embeddings", "planned"]

JOINED: Final = "joined."
"""Before the role: the place of all texts of a role in the order of evaluation, as one."""
WITNESS: Final = "~"
"""Before the id of a node that draws: the gateway's own node, which shows what it drew. No id of a client's begins so."""
_EMBEDDING: Final = re.compile(r"(?i)embedding:([^\s,()\[\]{}<>|]*)")
_WEIGHT: Final = re.compile(r":[0-9.+\-]*\Z")
_ENDINGS: Final = (".safetensors", ".pt", ".bin")
_COUNT_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be named. ``models``: of the gateway; ``folders``: names in the other folders of ComfyUI, ``loras`` and ``embeddings`` among them."""

    models: frozenset[str]
    folders: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def of(self, folder: str) -> frozenset[str]:
        """The names in a folder."""
        return self.models if folder in MODELS else self.folders.get(folder, frozenset())


@dataclass(frozen=True, slots=True)
class Loaded:
    """A picture that the graph loads, by the name that the client knows it by."""

    node: str
    input: str
    name: str = field(repr=False)
    role: PictureRole


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph that is understood."""

    graph: Graph
    texts: tuple[Text, ...]
    names: tuple[Name, ...]
    loaded: tuple[Loaded, ...]
    saves: Mapping[str, Saves]
    prefixes: Mapping[str, str] = field(repr=False)
    """By saving node, the name that the client wants for its files. It is never sent on."""
    count: int
    witnesses: tuple[str, ...] = ()
    """Nodes that draw what the graph then changes: what they drew is judged, and is for nobody."""
    derived: bool = False
    """Whether something is saved that was changed after it was drawn: then one picture that is withheld withholds all."""

    def forwarded(self, texts: Mapping[str, str], files: Mapping[tuple[str, str], str]) -> dict[str, Any]:
        """The graph for the generator. ``texts``: by place, what was rewritten; ``files``: by node and input, the generator's name of a file."""
        sent = {name: self._sent(name, piece, texts, files) for name, piece in self.graph.pieces.items()}
        return sent | {WITNESS + name: _shown(Link(name, 0)) for name in self.witnesses}

    @property
    def showing(self) -> frozenset[str]:
        """Nodes that show pictures to the gateway."""
        return frozenset((*self.saves, *(WITNESS + name for name in self.witnesses)))

    def shape(self) -> Plan:
        """What is kept while it runs: its nodes, and nothing that was said in them."""
        pieces = {name: replace(piece, inputs={}) for name, piece in self.graph.pieces.items()}
        return replace(self, graph=Graph(pieces), texts=(), names=(), loaded=())

    def _sent(
        self, name: str, piece: Piece, texts: Mapping[str, str], files: Mapping[tuple[str, str], str]
    ) -> dict[str, Any]:
        if piece.node.saves is not None:
            return _shown(piece.inputs.get("images"))
        inputs = {where: _wire(value) for where, value in piece.inputs.items()}
        inputs |= {where: texts[f"{name}.{where}"] for where in piece.node.texts if f"{name}.{where}" in texts}
        inputs |= {where: files[name, where] for where in piece.node.files}
        return {"class_type": piece.class_type, "inputs": inputs}


def _shown(images: object) -> dict[str, Any]:
    return {"class_type": "SaveImageWebsocket", "inputs": {"images": _wire(images)}}


def _wire(value: object) -> object:
    return [value.node, value.slot] if isinstance(value, Link) else value


def planned(prompt: object, catalogue: Catalogue, offer: Offer) -> Plan:
    """What a graph asks for. Raises GraphError."""
    came = read(prompt, catalogue)
    graph = settled(came)
    roles = _roles(came, graph)
    texts = (*_computing(came, roles), *_given(graph, roles))
    check_embeddings({text.where: text.value for text in texts}, offer)
    names = tuple(_names(graph, offer))
    embeddings = {Name(NameKind.EMBEDDING, name) for text in texts for name in _embeddings(text.value)}
    saves = {name: piece.node.saves for name, piece in graph.pieces.items() if piece.node.saves is not None}
    return Plan(
        graph,
        (*texts, *_joined(texts, graph)),
        (*names, *sorted(embeddings, key=lambda name: name.value)),
        tuple(_loads(graph)),
        saves,
        _prefixes(prompt, saves),
        _count(graph) * len(saves),
        *_witnesses(graph),
    )


# -- roles


def _roles(came: Graph, graph: Graph) -> Mapping[str, frozenset[TextRole]]:
    """By node, whether what it gives is drawn or avoided. Values are looked up in the settled graph, ways in the one that came."""
    found: dict[str, set[TextRole]] = {name: set() for name in came.pieces}
    seen: set[tuple[Link, TextRole]] = set()
    todo = [start for name, piece in graph.pieces.items() if piece.node.samples for start in _starts(piece)]
    for link, role in todo:  # it grows while it is read
        if (link, role) in seen:
            continue
        seen.add((link, role))
        piece = came.pieces[link.node]
        found[link.node].add(role)
        if not piece.node.samples:
            todo += [(other, role) for _, other in _ways(piece, link.slot)]
    return {name: frozenset(roles) for name, roles in found.items()}


def _starts(piece: Piece) -> Iterator[tuple[Link, TextRole]]:
    """What a sampler draws. Below a weight of one, what is negative is drawn as well; and a weight that nobody knows may be below."""
    cfg = piece.inputs.get("cfg")
    avoided = isinstance(cfg, int | float) and cfg >= 1
    for where, link in piece.links():
        if where in ("positive", "conditioning") or (where == "negative" and not avoided):
            yield link, TextRole.POSITIVE
        elif where == "negative":
            yield link, TextRole.NEGATIVE


def _ways(piece: Piece, slot: int) -> list[tuple[str, Link]]:
    """The inputs that an output comes of: a node with both sides gives the positive one first, and the negative one second."""
    links = list(piece.links())
    if not {"positive", "negative"} <= {where for where, _ in links}:
        return links
    other = {0: "negative", 1: "positive"}.get(slot)
    return [(where, link) for where, link in links if where != other]


def _role(roles: frozenset[TextRole]) -> TextRole:
    if TextRole.POSITIVE in roles:
        return TextRole.POSITIVE
    return TextRole.NEGATIVE if roles else TextRole.GRAPH


# -- texts and names


def _computing(came: Graph, roles: Mapping[str, frozenset[TextRole]]) -> Iterator[Text]:
    """Strings that values are computed of. They are not sent, and are screened all the same."""
    for name, piece in came.pieces.items():
        if piece.node.folds:
            yield from (Text(_role(roles[name]), value, f"{name}.{where}") for where, value in piece.literals())


def _given(graph: Graph, roles: Mapping[str, frozenset[TextRole]]) -> Iterator[Text]:
    """Every string that is sent, but names, which are held against lists."""
    for name, piece in graph.pieces.items():
        for where, value in piece.literals():
            if where in piece.node.texts:
                yield Text(_role(roles[name]), value, f"{name}.{where}")
            elif where not in piece.node.names and where not in piece.node.files:
                yield Text(TextRole.OTHER, value, f"{name}.{where}")


def _joined(texts: tuple[Text, ...], graph: Graph) -> Iterator[Text]:
    """The prompts of a role as one: words may stand in several. Values that were computed are in them already."""
    prompts = {f"{name}.{where}" for name, piece in graph.pieces.items() for where in piece.node.texts}
    for role in (TextRole.POSITIVE, TextRole.NEGATIVE, TextRole.GRAPH):
        several = [text.value for text in texts if text.role is role and text.where in prompts]
        if len(several) > 1:
            yield Text(role, " ".join(several), JOINED + role)


def _embeddings(text: str) -> Iterator[str]:
    for found in _EMBEDDING.findall(text):
        yield _WEIGHT.sub("", found).rstrip(".;")


def check_embeddings(texts: Mapping[str, str], offer: Offer) -> None:
    """That texts name no embedding which is not offered. Raises GraphError."""
    offered = {stem for name in offer.of("embeddings") for stem in (name, *_stems(name))}
    for where, text in texts.items():
        if not offered.issuperset(_embeddings(text)):
            raise GraphError("value_not_in_list", "an embedding is not offered here", node=where.partition(".")[0])


def _stems(name: str) -> Iterator[str]:
    return (name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending))


def _names(graph: Graph, offer: Offer) -> Iterator[Name]:
    for name, piece in graph.pieces.items():
        yield Name(NameKind.NODE, piece.class_type)
        for where, folder in piece.node.names.items():
            value = str(piece.inputs[where])
            if value not in offer.of(folder):
                raise GraphError(
                    "value_not_in_list",
                    "this is not offered here",
                    node=name,
                    class_type=piece.class_type,
                    field=where,
                )
            yield Name(kind_of(folder), value)


# -- pictures


def _loads(graph: Graph) -> Iterator[Loaded]:
    roles = _picture_roles(graph)
    for name, piece in graph.pieces.items():
        for where in piece.node.files:
            role = PictureRole.MASK if piece.class_type == "LoadImageMask" else roles.get(name, PictureRole.INIT)
            yield Loaded(name, where, str(piece.inputs[where]), role)


def _picture_roles(graph: Graph) -> Mapping[str, PictureRole]:
    """By node, what its picture is to the generator where an input on its way says so."""
    found: dict[str, PictureRole] = {}
    starts = [
        (link, piece.node.pictures[where])
        for piece in graph.pieces.values()
        for where, link in piece.links()
        if where in piece.node.pictures
    ]
    for link, role in starts:  # it grows while it is read
        piece = graph.pieces[link.node]
        if link.node not in found and not piece.node.samples:
            found[link.node] = role
            starts += [(other, role) for _, other in piece.links()]
    return found


def _witnesses(graph: Graph) -> tuple[tuple[str, ...], bool]:
    """Nodes that draw something which is saved, but not at once; and whether anything is saved that was not drawn at once."""
    saved = {link.node for piece in graph.pieces.values() if piece.node.saves for _, link in piece.links()}
    needed = list(saved)
    for name in needed:  # it grows while it is read
        needed += [link.node for _, link in graph.pieces[name].links() if link.node not in needed]
    drawn = [name for name in graph.pieces if graph.pieces[name].node.decodes and name in set(needed)]
    return tuple(name for name in drawn if name not in saved), not saved <= set(drawn)


def _prefixes(prompt: object, saves: Mapping[str, Saves]) -> Mapping[str, str]:
    assert isinstance(prompt, Mapping)
    given = {name: prompt[name].get("inputs", {}).get("filename_prefix") for name in saves}
    return {name: value for name, value in given.items() if isinstance(value, str)}


def _count(graph: Graph) -> int:
    """Images that may come of each node that saves, so far as the graph says."""
    most = 1
    for piece in graph.pieces.values():
        for where in ("batch_size", "amount"):
            value = piece.inputs.get(where)
            if isinstance(value, int) and value > 1:
                most = min(most * value, _COUNT_MAX)
    return most
