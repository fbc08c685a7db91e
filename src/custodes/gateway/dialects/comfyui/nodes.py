"""What the generator says of its nodes, so far as they may be used here: for interfaces, which draw nodes by it.

Promises that only nodes and inputs of the catalogue are told of, and that lists of files are the gateway's: names that are offered, pictures of this tenant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from custodes.gateway.dialects.comfyui.asking import Offer
from custodes.gateway.dialects.comfyui.catalogue import Catalogue, Node

__all__ = ["described"]

_TOLD: Final = ("output", "output_is_list", "output_name", "name", "display_name", "category", "output_node")
_OPTIONS: Final = frozenset(
    {"default", "min", "max", "step", "round", "multiline", "image_upload", "control_after_generate"}
)


def described(
    given: Mapping[str, Any], catalogue: Catalogue, offer: Offer, uploads: Sequence[str]
) -> Mapping[str, Any]:
    """By class, what may be known."""
    return {
        name: _node(catalogue.nodes[name], info, offer, uploads)
        for name, info in given.items()
        if name in catalogue.nodes and isinstance(info, Mapping)
    }


def _node(node: Node, info: Mapping[str, Any], offer: Offer, uploads: Sequence[str]) -> Mapping[str, Any]:
    asked = info.get("input")
    groups = {
        group: {
            name: _input(node, name, shape, offer, uploads)
            for name, shape in asked[group].items()
            if name in node.known
        }
        for group in ("required", "optional")
        if isinstance(asked, Mapping) and isinstance(asked.get(group), Mapping)
    }
    order = {group: list(inputs) for group, inputs in groups.items()}
    return {
        "input": groups,
        "input_order": order,
        **{name: info[name] for name in _TOLD if name in info},
        "description": "",
    }


def _input(node: Node, name: str, shape: object, offer: Offer, uploads: Sequence[str]) -> object:
    first, options = _halves(shape)
    kept = {option: value for option, value in options.items() if option in _OPTIONS}
    if name in node.names:
        return [sorted(offer.of(node.names[name]))]
    if name in node.files:
        return [list(uploads), {"image_upload": True}]
    return [first, kept] if kept else [first]


def _halves(shape: object) -> tuple[object, Mapping[str, Any]]:
    """The kind of an input, and what is said about it."""
    if not isinstance(shape, list) or not shape:
        return "*", {}
    options = shape[1] if len(shape) > 1 and isinstance(shape[1], Mapping) else {}
    if shape[0] == "COMBO" and isinstance(options.get("options"), list):  # the newer way to say a choice
        return options["options"], options
    return shape[0], options
