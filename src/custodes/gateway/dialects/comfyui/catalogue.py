"""The nodes that are understood, from a data file; and what operators add to it, in the same form.

Promises that what a file does not name does not exist, and that a file with a node that cannot be (a folding node that nobody can fold, a node that both
draws and saves) is refused when it is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from custodes.errors import ConfigError
from custodes.gateway.dialects.comfyui.folding import FOLDS
from custodes.gateway.vocabulary import NameKind, PictureRole

__all__ = ["ADAPTERS", "MODELS", "Catalogue", "Node", "Saves", "core", "extended", "kind_of"]

MODELS: Final = frozenset({"checkpoints", "diffusion_models"})
"""Folders whose names are models that a gateway offers; names in the other folders are the operator's to list."""
ADAPTERS: Final = frozenset({"loras", "hypernetworks", "controlnet", "style_models", "gligen", "photomaker"})
_FOREIGN: Final = re.compile(
    r"(?i)api|openai|gemini|kling|sora|luma|runway|ideogram|recraft|stability|veo|pika|minimax"
)
"""Words in the names of nodes that ask other companies. Belt: they are not on the list either."""


class Saves(StrEnum):
    """How a node gives pictures to the client."""

    OUTPUT = "output"
    TEMP = "temp"
    FRAMES = "frames"


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A class of nodes: each of its inputs by what it is."""

    inputs: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    names: dict[str, str] = {}
    files: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    pictures: dict[str, PictureRole] = {}
    samples: bool = False
    folds: bool = False
    decodes: bool = False
    saves: Saves | None = None

    @property
    def known(self) -> frozenset[str]:
        """All inputs."""
        return frozenset((*self.inputs, *self.texts, *self.names, *self.files, *self.kept))


class Catalogue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Classes by name."""

    as_of: str
    nodes: dict[str, Node]


@cache
def core() -> Catalogue:
    """ComfyUI's own nodes."""
    return _read(files("custodes.gateway.dialects.comfyui").joinpath("nodes.toml").read_bytes(), "nodes.toml")


def extended(document: bytes, where: str) -> Catalogue:
    """The core, and an operator's nodes. Raises ConfigError; a node of the core cannot be described anew."""
    more = _read(document, where)
    if twice := sorted(core().nodes.keys() & more.nodes.keys()):
        raise ConfigError(
            f"{where} describes {twice[0]} again", hint="take it out: nodes of the core are what the gateway says"
        )
    return Catalogue(as_of=more.as_of, nodes=core().nodes | more.nodes)


def kind_of(folder: str) -> NameKind:
    """What a name in a folder names."""
    return NameKind.ADAPTER if folder in ADAPTERS else NameKind.EMBEDDING if folder == "embeddings" else NameKind.MODEL


def _read(document: bytes, where: str) -> Catalogue:
    try:
        raw = msgspec.toml.decode(document)
        if isinstance(raw, Mapping):
            raw = {**raw, "as_of": str(raw.get("as_of", ""))}
        found = msgspec.convert(raw, Catalogue)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{where} is not a list of nodes: {error}", hint="see the list that comes with it") from None
    for name, node in found.nodes.items():
        if wrong := _wrong(name, node):
            raise ConfigError(f"{where}: {name} {wrong}", hint="see the list that comes with it")
    return found


def _wrong(name: str, node: Node) -> str:
    if node.folds and (name not in FOLDS or node.texts or node.names or node.files):
        return "cannot be folded"
    if node.folds + node.samples + node.decodes + (node.saves is not None) > 1:
        return "is more than one thing"
    if node.saves is not None and node.inputs != ("images",):
        return "saves something that is not images"
    if not set(node.pictures) <= set(node.inputs):
        return "names an input that it does not have"
    if _FOREIGN.search(name):
        return "seems to ask another company, which the gateway does not let through"
    return ""
