"""Graphs: what is understood is asked for exactly as it will be drawn, and what is not understood is not run."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from custodes.errors import ConfigError
from custodes.gateway.dialects.comfyui import asking
from custodes.gateway.dialects.comfyui.asking import Offer, Plan, planned
from custodes.gateway.dialects.comfyui.catalogue import core, extended
from custodes.gateway.dialects.comfyui.folding import CHARS_MAX, FOLDS, fold
from custodes.gateway.dialects.comfyui.graph import NODES_MAX, GraphError
from custodes.gateway.vocabulary import NameKind, PictureRole, TextRole
from tests.gateway.comfyui.client import graph, said

OFFER = Offer(frozenset({"demo"}), {"loras": frozenset({"boats.safetensors"}), "embeddings": frozenset({"calm.pt"})})
P, N, G, O = TextRole.POSITIVE, TextRole.NEGATIVE, TextRole.GRAPH, TextRole.OTHER  # noqa: E741


def plan(prompt: Any) -> Plan:
    return planned(prompt, core(), OFFER)


def roles(prompt: Any) -> dict[str, tuple[TextRole, str]]:
    return {text.where: (text.role, text.value) for text in plan(prompt).texts if text.role is not O}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def fed(by: Any, **nodes: Any) -> dict[str, Any]:
    """The example with its positive prompt computed."""
    return graph(n6=node("CLIPTextEncode", clip=["4", 1], text=by), **nodes)


def test_the_prompts_of_a_sampler_have_their_roles() -> None:
    assert roles(said("a boat")) == {"6.text": (P, "a boat"), "7.text": (N, "fog")}


@pytest.mark.parametrize("cfg", [0, 0.99, -7, None, ["10", 0], "8"])
def test_what_is_negative_is_drawn_where_its_weight_may_be_below_one(cfg: Any) -> None:
    made = said("a boat", cfg=cfg)
    made["10"] = node("PrimitiveFloat", value=0.5)
    assert roles(made)["7.text"] == (P, "fog")


def test_a_weight_that_is_computed_is_known() -> None:
    made = said("a boat", cfg=["10", 0])
    made["10"] = node("PrimitiveFloat", value=1.0)
    assert roles(made)["7.text"] == (N, "fog")


def test_roles_go_through_nodes_with_both_sides_each_on_its_own() -> None:
    made = said("a boat")
    made["12"] = node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], strength=1)
    made["3"]["inputs"] |= {"positive": ["12", 0], "negative": ["12", 1]}
    assert roles(made)["7.text"][0] is N
    made["3"]["inputs"]["positive"] = ["12", 1]
    assert roles(made)["7.text"][0] is P


def test_a_prompt_on_both_sides_is_positive_and_one_on_none_is_of_the_graph() -> None:
    made = said("a boat")
    made["3"]["inputs"]["negative"] = ["6", 0]
    assert roles(made) == {"6.text": (P, "a boat"), "7.text": (G, "fog")}


FOLDED: dict[str, tuple[dict[str, Any], Any]] = {
    "StringConcatenate": ({"string_a": "a", "string_b": "b", "delimiter": "-"}, "a-b"),
    "StringReplace": ({"string": "a hat", "find": "hat", "replace": "boat"}, "a boat"),
    "StringSubstring": ({"string": "abcdef", "start": 1, "end": -1}, "bcde"),
    "StringTrim": ({"string": "  a ", "mode": "Left"}, "a "),
    "CaseConverter": ({"string": "a boat", "mode": "Title Case"}, "A Boat"),
    "StringLength": ({"string": "abc"}, 3),
    "StringContains": ({"string": "A boat", "substring": "a b", "case_sensitive": False}, True),
    "StringCompare": ({"string_a": "A", "string_b": "a", "mode": "Equal", "case_sensitive": True}, False),
    "PrimitiveString": ({"value": "a"}, "a"),
    "PrimitiveStringMultiline": ({"value": "a\nb"}, "a\nb"),
    "PrimitiveInt": ({"value": 7}, 7),
    "PrimitiveFloat": ({"value": 0.5}, 0.5),
    "PrimitiveBoolean": ({"value": True}, True),
}


@pytest.mark.parametrize("name", FOLDS)
def test_each_value_is_computed_as_comfyui_computes_it(name: str) -> None:
    inputs, expected = FOLDED[name]
    assert fold(name, inputs) == expected
    assert name in core().nodes
    assert core().nodes[name].known >= inputs.keys()


@pytest.mark.parametrize("name", FOLDS)
def test_what_cannot_be_computed_is_an_error(name: str) -> None:
    for missing in FOLDED[name][0]:
        if missing not in ("delimiter", "case_sensitive"):
            with pytest.raises(ValueError, match="missing"):
                fold(name, {key: value for key, value in FOLDED[name][0].items() if key != missing})
    with pytest.raises(ValueError, match="missing"):
        fold(name, dict.fromkeys(FOLDED[name][0], ()))


def test_no_value_is_longer_than_the_limit() -> None:
    half = "a" * (CHARS_MAX // 2)
    assert fold("StringConcatenate", {"string_a": half, "string_b": half}) == half * 2
    with pytest.raises(ValueError, match="too long"):
        fold("StringConcatenate", {"string_a": half, "string_b": half, "delimiter": "-"})
    with pytest.raises(ValueError, match="too long"):
        fold("StringReplace", {"string": half, "find": "", "replace": half})


def test_a_doubling_chain_ends_at_the_limit() -> None:
    nodes = {"a0": node("PrimitiveString", value="abcd")}
    nodes |= {
        f"a{i}": node("StringConcatenate", string_a=[f"a{i - 1}", 0], string_b=[f"a{i - 1}", 0], delimiter="")
        for i in range(1, 60)
    }
    with pytest.raises(GraphError):
        plan(fed(["a59", 0]) | nodes)


def computed() -> dict[str, Any]:
    return fed(
        ["12", 0],
        n10=node("PrimitiveString", value="an umb"),
        n11=node("StringReplace", string="rellx in a garden", find="x", replace="a"),
        n12=node("StringConcatenate", string_a=["10", 0], string_b=["11", 0], delimiter=""),
    )


def test_a_computed_text_is_screened_as_it_will_be_and_sent_as_it_was_screened() -> None:
    made = plan(computed())
    assert ("6.text", P, "an umbrella in a garden") in [(text.where, text.role, text.value) for text in made.texts]
    sent = made.forwarded({}, {})
    assert sent["6"]["inputs"]["text"] == "an umbrella in a garden"
    assert not {"10", "11", "12"} & sent.keys()


def test_what_texts_are_computed_of_is_screened_with_the_role_of_what_becomes_of_it() -> None:
    found = roles(computed())
    assert found["10.value"] == (P, "an umb")
    assert found["11.find"] == (P, "x")


def test_prompts_of_a_role_are_screened_together_in_their_order() -> None:
    made = said("an umb")
    made["13"] = node("CLIPTextEncode", clip=["4", 1], text="rella")
    made["14"] = node("ConditioningConcat", conditioning_to=["6", 0], conditioning_from=["13", 0])
    made["3"]["inputs"]["positive"] = ["14", 0]
    assert roles(made)["joined.positive"] == (P, "an umb rella")


def test_a_rewritten_text_stands_where_the_link_was() -> None:
    assert plan(computed()).forwarded({"6.text": "a boat"}, {})["6"]["inputs"]["text"] == "a boat"


def test_pictures_leave_the_generator_in_one_way_only_and_under_no_name_of_the_clients() -> None:
    made = graph(preview=node("PreviewImage", images=["8", 0]))
    sent = plan(made).forwarded({}, {})
    assert sent["9"] == sent["preview"] == {"class_type": "SaveImageWebsocket", "inputs": {"images": ["8", 0]}}


def test_what_is_drawn_and_then_changed_is_shown_to_the_gateway_as_it_was_drawn() -> None:
    assert (plan(graph()).witnesses, plan(graph()).derived) == ((), False)
    made = graph(n10=node("ImageInvert", image=["8", 0]), n9=node("SaveImage", images=["10", 0]))
    changed = plan(made)
    assert (changed.witnesses, changed.derived) == (("8",), True)
    assert changed.forwarded({}, {})["~8"] == {"class_type": "SaveImageWebsocket", "inputs": {"images": ["8", 0]}}
    assert plan(made | {"11": node("PreviewImage", images=["8", 0])}).witnesses == ()
    twice = made | {"12": node("VAEEncode", pixels=["8", 0]), "13": node("VAEDecode", samples=["12", 0])}
    assert plan(twice | {"9": node("SaveImage", images=["13", 0])}).witnesses == ("8",)
    assert plan(twice | {"9": node("SaveImage", images=["13", 0])}).derived is False


def test_every_other_string_is_screened_as_well() -> None:
    texts = {text.where: text for text in plan(graph()).texts if text.role is O}
    assert {where: text.value for where, text in texts.items()} == {
        "3.sampler_name": "euler",
        "3.scheduler": "normal",
    }


def test_names_are_told_by_kind() -> None:
    made = said("a boat, (embedding:calm:1.2)")
    made["10"] = node("LoraLoader", model=["4", 0], clip=["4", 1], lora_name="boats.safetensors", strength_model=1)
    found = {(name.kind, name.value) for name in plan(made).names if name.kind is not NameKind.NODE}
    assert found == {
        (NameKind.MODEL, "demo"),
        (NameKind.ADAPTER, "boats.safetensors"),
        (NameKind.EMBEDDING, "calm"),
    }


def test_a_picture_that_guides_has_its_role() -> None:
    load, net = node("LoadImage", image="a.png"), node("ControlNetApply", conditioning=["6", 0], image=["10", 0])
    assert plan(graph(n10=load)).loaded[0].role is PictureRole.INIT
    assert plan(graph(n10=load, n11=net)).loaded[0].role is PictureRole.CONTROL
    assert plan(graph(n10=node("LoadImageMask", image="a.png"))).loaded[0].role is PictureRole.MASK


def circle() -> dict[str, Any]:
    made = graph()
    made["8"]["inputs"]["vae"] = ["9", 0]
    return made


def extra(name: str, **changes: Any) -> dict[str, Any]:
    made = graph()
    made[name].update(copy.deepcopy(changes))
    return made


DENIED: dict[str, tuple[Any, str]] = {
    "nothing": (None, "no_prompt"),
    "an empty graph": ({}, "no_prompt"),
    "a list": ([graph()], "no_prompt"),
    "a node that is not known": (graph(n10=node("StringFormat", text="{}")), "unknown_node"),
    "a node that asks another company": (graph(n10=node("OpenAIGPTImage1", prompt="a boat")), "unknown_node"),
    "a node with patterns": (graph(n10=node("RegexReplace", string="a")), "unknown_node"),
    "an input that is not known": (extra("4", inputs={"ckpt_name": "demo", "x": 1}), "unknown_input"),
    "a key that nodes do not have": (extra("4", more=1), "invalid_prompt"),
    "a class that is no word": (graph(n10={"class_type": ["KSampler"], "inputs": {}}), "unknown_node"),
    "inputs that are none": (graph(n10={"class_type": "KSampler", "inputs": []}), "invalid_prompt"),
    "a node that is none": (graph(n10="KSampler"), "invalid_prompt"),
    "an id that is a sentence": (graph() | {"an umbrella": node("EmptyImage")}, "invalid_prompt"),
    "a circle": (circle(), "invalid_prompt"),
    "a link to nothing": (fed(["77", 0]), "bad_linked_input"),
    "a link with a slot below 0": (fed(["4", -1]), "invalid_input_type"),
    "a prompt that a model computes": (fed(["4", 0]), "invalid_input_type"),
    "a prompt that is a number": (fed(7), "invalid_input_type"),
    "a prompt in a list": (fed(["a", "b", "c"]), "invalid_input_type"),
    "a prompt in an object": (fed({"__value__": "a"}), "invalid_input_type"),
    "a prompt that is too long": (fed("a" * (CHARS_MAX + 1)), "invalid_prompt"),
    "a value of what is not known": (
        fed(["10", 0], n10=node("StringTrim", string=["4", 0], mode="Both")),
        "invalid_input_type",
    ),
    "a model that is not offered": (extra("4", inputs={"ckpt_name": "other"}), "value_not_in_list"),
    "an adapter that is not offered": (graph(n10=node("LoraLoaderModelOnly", lora_name="x")), "value_not_in_list"),
    "a folder that is not offered": (graph(n10=node("VAELoader", vae_name="x")), "value_not_in_list"),
    "an embedding that is not offered": (said("a boat embedding:storm"), "value_not_in_list"),
    "an embedding under another case": (said("EMBEDDING:../../storm"), "value_not_in_list"),
    "an embedding in the negative prompt": (said("a", "x,embedding:storm,"), "value_not_in_list"),
    "an embedding that is computed": (
        fed(
            ["10", 0],
            n10=node("StringConcatenate", string_a="embed", string_b="ding:storm".removeprefix("d"), delimiter="d"),
        ),
        "value_not_in_list",
    ),
    "nothing that is saved": (graph(n9=None), "prompt_no_outputs"),
    "too many nodes": ({str(i): node("EmptyImage") for i in range(NODES_MAX + 1)}, "invalid_prompt"),
    "too much text": (
        graph(**{f"a{i}": node("PrimitiveString", value="a" * CHARS_MAX) for i in range(11)}),
        "invalid_prompt",
    ),
}


@pytest.mark.parametrize("case", DENIED)
def test_what_is_not_understood_is_not_run(case: str) -> None:
    prompt, problem = DENIED[case]
    with pytest.raises(GraphError) as caught:
        plan(prompt)
    assert caught.value.problem == problem


def test_a_graph_of_the_largest_size_is_run() -> None:
    more = {f"a{i}": node("EmptyImage") for i in range(NODES_MAX - len(graph()))}
    assert len(plan(graph(**more)).graph.pieces) == NODES_MAX


def test_no_error_repeats_what_was_asked() -> None:
    for prompt, _ in DENIED.values():
        with pytest.raises(GraphError) as caught:
            plan(prompt)
        assert not any(word in str(caught.value) for word in ("storm", "umbrella", "aaaa"))


def test_planted_a_graph_whose_links_are_left_to_the_generator_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "settled", lambda came: came)
    with pytest.raises(AssertionError):
        test_a_computed_text_is_screened_as_it_will_be_and_sent_as_it_was_screened()


def test_planted_embeddings_that_nobody_holds_against_a_list_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "check_embeddings", lambda *_: None)
    with pytest.raises(BaseException, match="DID NOT RAISE"):
        test_what_is_not_understood_is_not_run("an embedding that is not offered")


BAD_NODES = {
    "is not a list": b"nodes = 1",
    "cannot be folded": b"as_of = 2026-01-01\n[nodes.Joiner]\nfolds = true",
    "asks another company": b"as_of = 2026-01-01\n[nodes.KlingNode]\ninputs = []",
    "saves something else": b'as_of = 2026-01-01\n[nodes.Saver]\ninputs = ["video"]\nsaves = "output"',
    "describes again": b"as_of = 2026-01-01\n[nodes.KSampler]\ninputs = []",
    "an unknown word": b"as_of = 2026-01-01\n[nodes.Saver]\nprompts = []",
}


@pytest.mark.parametrize("case", BAD_NODES)
def test_a_list_of_nodes_that_cannot_be_is_refused_when_it_is_read(case: str) -> None:
    with pytest.raises(ConfigError):
        extended(BAD_NODES[case], "nodes.toml")


def test_operators_add_nodes() -> None:
    mine = b'as_of = 2026-01-01\n[nodes.TwoPrompts]\ntexts = ["left"]\ninputs = ["clip"]'
    made = graph(n10=node("TwoPrompts", left="a hat", clip=["4", 1]))
    found = planned(made, extended(mine, "mine.toml"), OFFER)
    assert ("10.left", "a hat") in [(text.where, text.value) for text in found.texts]
