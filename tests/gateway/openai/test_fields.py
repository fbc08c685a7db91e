"""What a request may hold, field by field; and that what the generator is sent is built anew from it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.gateway.dialects import openai_fields
from custodes.gateway.dialects.bodies import PARTS_MAX, Part, form
from custodes.gateway.dialects.openai_fields import (
    COUNT_MAX,
    IMAGES_MAX,
    PROMPT_CHARS_MAX,
    Wanted,
    Work,
    from_form,
    from_json,
)
from custodes.gateway.dialects.texts import changed, strings
from custodes.gateway.door import Denial, DeniedError
from custodes.gateway.guard import Caller, Passage
from custodes.gateway.vocabulary import NameKind, PictureRole, TextRole

MODELS = frozenset({"demo", "dall-e-3", "author"})
EXTRA = frozenset({"negative_prompt", "seed", "guidance_scale"})


def passed(wanted: Any) -> Passage:
    """The request as the guard lets it pass, of a user."""
    return Passage(Caller("tenant", "opaque"), wanted.asked, ())


def asked(**fields: Any) -> Wanted:
    return from_json({"prompt": "a boat", "model": "demo"} | fields, EXTRA, MODELS)


def denied(work: Any) -> tuple[Denial, str]:
    with pytest.raises(DeniedError) as caught:
        work()
    return caught.value.denial, caught.value.field


GOOD: list[tuple[str, Any]] = [
    ("n", 1),
    ("n", COUNT_MAX),
    ("size", "auto"),
    ("size", "3840x2160"),
    ("quality", "max"),
    ("background", "transparent"),
    ("output_format", "svg"),
    ("output_format", "gif"),
    ("output_compression", 0),
    ("output_compression", 100),
    ("frame_count", 2),
    ("frame_count", 16),
    ("complexity", "low"),
    ("style", "vivid"),
    ("prompt", "x" * PROMPT_CHARS_MAX),
    ("svg", {"model": "author"}),
    ("svg", {"model": "author", "reasoning": {"effort": "high"}}),
    ("seed", 7),
    ("guidance_scale", 7.5),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_known_field_is_forwarded(name: str, value: Any) -> None:
    assert asked(**{name: value}).fields[name] == value


BAD: list[tuple[str, Any]] = [
    ("n", 0),
    ("n", COUNT_MAX + 1),
    ("n", True),
    ("n", 1.0),
    ("n", [1]),
    ("size", "large"),
    ("size", "1024X1024"),
    ("size", "1024x1024\n"),
    ("quality", "a boat"),
    ("quality", {"a": "b"}),
    ("output_format", "bmp"),
    ("output_compression", 101),
    ("frame_count", 1),
    ("frame_count", 17),
    ("stream", "yes"),
    ("partial_images", 4),
    ("moderation", "none"),
    ("response_format", "path"),
    ("prompt", "x" * (PROMPT_CHARS_MAX + 1)),
    ("prompt", ["a"]),
    ("prompt", ""),
    ("prompt", None),
    ("model", "../demo"),
    ("model", {"name": "demo"}),
    ("user", "x" * 513),
    ("svg", "author"),
    ("svg", {}),
    ("svg", {"model": "author", "prompt": "a"}),
    ("svg", {"model": "author", "reasoning": {"effort": "a boat"}}),
    ("svg", {"model": "author", "reasoning": {"prompt": "a boat"}}),
    ("negative_prompt", ["a"]),
    ("seed", {"a": 1}),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_value_that_cannot_be_is_denied_by_its_field(name: str, value: Any) -> None:
    assert denied(lambda: asked(**{name: value})) == (Denial.MALFORMED, name)


@pytest.mark.parametrize("name", ["image", "loras", "prompt_rewriter", "input_fidelity", "Prompt", "webhook"])
def test_a_field_that_is_not_known_is_denied(name: str) -> None:
    assert denied(lambda: asked(**{name: "a"})) == (Denial.ROUTE, name)


def test_the_name_of_an_unknown_field_is_told_only_where_it_is_a_name() -> None:
    assert denied(lambda: asked(**{"a prompt as a name": 1})) == (Denial.ROUTE, "?")


@pytest.mark.parametrize("fields", [{"model": "other"}, {"svg": {"model": "other"}}, {"model": None}])
def test_only_models_on_offer_are_asked_for(fields: dict[str, Any]) -> None:
    assert denied(lambda: asked(**fields)) == (Denial.MODEL, "model")


def test_the_only_model_need_not_be_named() -> None:
    assert from_json({"prompt": "a"}, EXTRA, frozenset({"one"})).model == "one"


def test_every_string_is_judged_by_its_role() -> None:
    wanted = asked(negative_prompt="fog", guidance_scale=1)
    assert [(text.role, text.where, text.value) for text in wanted.asked.texts] == [
        (TextRole.POSITIVE, "prompt", "a boat"),
        (TextRole.NEGATIVE, "negative_prompt", "fog"),
    ]


def test_every_model_is_a_name() -> None:
    names = asked(svg={"model": "author"}).asked.names
    assert [(name.kind, name.value) for name in names] == [(NameKind.MODEL, "demo"), (NameKind.MODEL, "author")]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([name for name, _ in GOOD] + [name for name, _ in BAD] + sorted(EXTRA)), st.text(max_size=40))
def test_no_string_is_forwarded_that_was_not_judged_or_is_of_the_table(name: str, value: str) -> None:
    try:
        wanted = asked(**{name: value})
    except DeniedError:
        return
    judged = {text.value for text in wanted.asked.texts} | MODELS
    free = [text for where, text in strings(wanted.fields) if text not in judged]
    assert all(len(text) < 16 and " " not in text and text.isascii() for text in free)


def test_planted_a_field_that_is_open_to_any_text_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {**openai_fields.FIELDS[Work.GENERATIONS], "quality": lambda value: value}
    monkeypatch.setitem(openai_fields.FIELDS, Work.GENERATIONS, table)  # type: ignore[arg-type]
    wanted = asked(quality="any text at all")
    assert "any text at all" in dict(strings(wanted.fields)).values()
    assert "any text at all" not in {text.value for text in wanted.asked.texts}


@pytest.mark.parametrize("given_value", ["low", "auto"])
def test_a_client_lowers_no_check(given_value: str) -> None:
    assert asked(moderation=given_value).fields["moderation"] == "auto"


@pytest.mark.parametrize("name", ["stream", "partial_images", "user", "safety_identifier"])
def test_what_is_for_the_gateway_is_not_forwarded(name: str) -> None:
    value = {"stream": True, "partial_images": 3}.get(name, "somebody")
    assert name not in asked(**{name: value}).fields


@pytest.mark.parametrize(
    ("fields", "as_url", "forwarded"),
    [
        ({}, False, None),
        ({"response_format": "url"}, True, "b64_json"),
        ({"response_format": "b64_json"}, False, "b64_json"),
        ({"model": "dall-e-3"}, True, "b64_json"),
        ({"model": "dall-e-3", "response_format": "b64_json"}, False, "b64_json"),
        ({"response_format": "url", "stream": True}, False, "b64_json"),
    ],
)
def test_the_generator_is_asked_for_bytes_and_never_for_links(
    fields: dict[str, Any], as_url: bool, forwarded: str | None
) -> None:
    wanted = asked(**fields)
    assert (wanted.as_url, wanted.fields.get("response_format")) == (as_url, forwarded)


def test_the_end_user_is_named_by_the_safety_identifier_first_and_forwarded_under_an_opaque_name() -> None:
    wanted = asked(user="u", safety_identifier="s")
    assert wanted.user == "s"
    assert wanted.body(passed(wanted))["json"]["safety_identifier"] == "opaque"
    assert (named := asked(user="u")).body(passed(named))["json"]["user"] == "opaque"
    assert "user" not in (nobody := asked()).body(passed(nobody))["json"]


# -- forms


def parts(*names: str, **fields: str) -> list[Part]:
    given_fields = {"prompt": "a boat", "model": "demo"} | fields
    return [Part(name, b"picture") for name in names] + [
        Part(name.replace("__", "["), value.encode()) for name, value in given_fields.items()
    ]


def of_form(given_parts: Sequence[Part], work: Work = Work.EDITS) -> Wanted:
    return from_form(work, given_parts, EXTRA, MODELS)


@pytest.mark.parametrize(
    "names", [("image",), ("image", "image"), ("image[]",), ("image[]",) * IMAGES_MAX, ("image", "mask", "markup")]
)
def test_pictures_of_a_form_are_judged_each_in_its_role(names: tuple[str, ...]) -> None:
    pictures = of_form(parts(*names)).asked.pictures
    assert len(pictures) == len({each.where for each in pictures}) == len(names)
    assert {each.role for each in pictures} <= {PictureRole.INIT, PictureRole.MASK, PictureRole.MARKUP}


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("mask",),
        ("image", "image[]"),
        ("image", "mask", "mask"),
        ("image", "markup", "markup"),
        ("image[]",) * (IMAGES_MAX + 1),
    ],
)
def test_pictures_that_are_unclear_missing_or_too_many_are_denied(names: tuple[str, ...]) -> None:
    assert denied(lambda: of_form(parts(*names))) == (Denial.MALFORMED, "image")


def test_a_picture_in_a_field_that_is_not_known_is_denied() -> None:
    assert denied(lambda: of_form(parts("image", "mask[]"))) == (Denial.ROUTE, "?")
    assert (
        denied(lambda: of_form([Part("image", b"a"), Part("mask", b"a"), Part("model", b"demo")], Work.VARIATIONS))[0]
        is Denial.ROUTE
    )


def test_values_of_a_form_are_read_as_what_they_are() -> None:
    wanted = of_form(
        [*parts("image", n="2", stream="true"), Part("svg[model]", b"author"), Part("svg[reasoning][effort]", b"low")]
    )
    assert (wanted.fields["n"], wanted.stream) == (2, True)
    assert wanted.fields["svg"] == {"model": "author", "reasoning": {"effort": "low"}}


@pytest.mark.parametrize(
    "more",
    [
        [Part("prompt", b"another")],
        [Part("svg[model]", b"author"), Part("svg[model]", b"author")],
        [Part("svg", b"author"), Part("svg[model]", b"author")],
        [Part("svg[reasoning]", b"low"), Part("svg[reasoning][effort]", b"low"), Part("svg[model]", b"author")],
        [Part("negative_prompt", b"\xff")],
    ],
    ids=["twice", "twice within", "within a text", "deeper than a text", "no UTF-8"],
)
def test_a_form_that_says_a_thing_twice_or_badly_is_denied(more: list[Part]) -> None:
    assert denied(lambda: of_form([*parts("image"), *more]))[0] is Denial.MALFORMED


def multipart(*names: str, end: bytes = b"--b--\r\n") -> bytes:
    return (
        b"".join(f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nx\r\n'.encode() for name in names) + end
    )


def read(body: bytes, kind: str = "multipart/form-data; boundary=b") -> list[Part]:
    return asyncio.run(form(body, kind))


def test_a_form_is_read_from_memory() -> None:
    assert [(part.name, part.content) for part in read(multipart(*"a" * PARTS_MAX))] == [("a", b"x")] * PARTS_MAX


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (multipart(*"a" * (PARTS_MAX + 1)), "multipart/form-data; boundary=b"),
        (multipart("a"), "multipart/form-data"),
        (multipart("a", end=b""), "multipart/form-data; boundary=b"),
        (multipart("a")[:-12], "multipart/form-data; boundary=b"),
        (b"nothing", "multipart/form-data; boundary=b"),
        (b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (
            b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
        ),
    ],
    ids=["too many", "no boundary", "no end", "cut", "no form", "no name", "a form in a form"],
)
def test_a_form_that_cannot_be_read_whole_is_denied(body: bytes, kind: str) -> None:
    assert denied(lambda: read(body, kind))[0] is Denial.MALFORMED


# -- texts


@given(
    st.recursive(
        st.text() | st.integers() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("ab", min_size=1), inner),
    )
)
@settings(max_examples=100, deadline=None)
def test_a_string_is_changed_by_the_name_that_it_is_found_by(value: Any) -> None:
    found = dict(strings(value))
    assert changed(value, {}) == value
    after = changed(value, dict.fromkeys(found, "new"))
    assert set(dict(strings(after)).values()) <= {"new"}
    assert list(dict(strings(after))) == list(found)
