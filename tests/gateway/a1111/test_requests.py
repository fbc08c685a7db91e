"""What of a request reaches an A1111 server: what was screened, and nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import pytest
from PIL import Image

from custodes.gateway.dialects import a1111_fields
from custodes.gateway.dialects.a1111 import A1111
from custodes.gateway.dialects.a1111_fields import Offer, from_json
from custodes.gateway.door import DeniedError
from custodes.gateway.guard import Caller, Passage
from custodes.gateway.vocabulary import Name, NameKind, PictureRole, TextRole
from tests.gateway.a1111.server import Server, real
from tests.gateway.a1111.worlds import OFFER, ask, world
from tests.gateway.fakes import MARK, MODELS, World

TXT, IMG = "/sdapi/v1/txt2img", "/sdapi/v1/img2img"
PICTURE = base64.b64encode(real()).decode()
DATA = f"data:image/png;base64,{PICTURE}"
UNIT = {"enabled": True, "image": PICTURE, "module": "none", "model": "None", "weight": 1.0}


def passed(found: Any, texts: Mapping[str, str] = {}) -> Passage:
    """The request as the guard lets it pass, with the pictures as they were given."""
    pictures = {each.where: each.content for each in found.asked.pictures}
    return Passage(Caller("tenant"), found.asked, (), texts, pictures)


def wanted(path: str, offer: Offer = OFFER, **fields: Any) -> a1111_fields.Wanted:
    return from_json(path, fields, offer, MODELS)


DENIED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "infotext, which sets any field and any setting": (TXT, {"infotext": "a boat\nSteps: 20, Model: other"}),
    "a style that is not offered": (TXT, {"styles": ["secret"]}),
    "a script that is not offered": (TXT, {"script_name": "prompts from file or textbox"}),
    "arguments of no script": (TXT, {"script_args": ["a garden"]}),
    "an always-on script that is not offered": (TXT, {"alwayson_scripts": {"reactor": {"args": []}}}),
    "a key of a script that is not known": (TXT, {"alwayson_scripts": {"controlnet": {"args": [{"batch_dir": "/"}]}}}),
    "an object for a script that takes none": (TXT, {"script_name": "loopback", "script_args": [{"a": 1}]}),
    "something beside a script's arguments": (TXT, {"alwayson_scripts": {"controlnet": {"args": [], "more": 1}}}),
    "nesting without end": (TXT, {"script_name": "loopback", "script_args": [[[[[[1]]]]]]}),
    "a setting that is not offered": (TXT, {"override_settings": {"outdir_samples": "/tmp"}}),
    "a setting that is an object": (TXT, {"override_settings": {"CLIP_stop_at_last_layers": {}}}),
    "a model that is not offered": (TXT, {"override_settings": {"sd_model_checkpoint": "other"}}),
    "a refiner that is not offered": (TXT, {"refiner_checkpoint": "other"}),
    "a model of the second pass that is not offered": (TXT, {"enable_hr": True, "hr_checkpoint_name": "other"}),
    "a field that is not known": (TXT, {"firstpass_image": PICTURE}),
    "a field of img2img in txt2img": (TXT, {"init_images": [PICTURE]}),
    "wildcards of the server's files": (TXT, {"prompt": "a __season__ garden"}),
    "wildcards in a second prompt": (TXT, {"hr_prompt": "__a__"}),
    "variables": (TXT, {"prompt": "${a=umb}${b=rella}${a}${b}"}),
    "more pictures than one request makes": (TXT, {"batch_size": 5, "n_iter": 4}),
    "a batch over the limit": (TXT, {"batch_size": 17}),
    "no picture in the batch": (TXT, {"batch_size": 0}),
    "a prompt that is a list": (TXT, {"prompt": ["a boat"]}),
    "a prompt over the limit": (TXT, {"prompt": "a" * 32_001}),
    "a width over the limit": (TXT, {"width": 4097}),
    "a sampler's name with more in it": (TXT, {"sampler_name": "Euler <a>"}),
    "no init image": (IMG, {}),
    "an empty list of init images": (IMG, {"init_images": []}),
    "too many init images": (IMG, {"init_images": [PICTURE] * 17}),
    "a link for an init image": (IMG, {"init_images": ["http://127.0.0.1/secret.png"]}),
    "a link with space before it": (IMG, {"init_images": [" https://example.test/a.png"]}),
    "a link for a mask": (IMG, {"init_images": [PICTURE], "mask": "https://example.test/a.png"}),
    "no image at all": (IMG, {"init_images": [base64.b64encode(b"a text").decode()]}),
    "a data URI with parameters": (IMG, {"init_images": [f"data:image/png;name=a;base64,{PICTURE}"]}),
    "a link in a script": (TXT, {"alwayson_scripts": {"controlnet": {"args": [UNIT | {"image": "http://a/b.png"}]}}}),
    "a picture in a script that nobody here reads": (
        TXT,
        {"alwayson_scripts": {"controlnet": {"args": [UNIT | {"image": base64.b64encode(b"8BPS" * 99).decode()}]}}},
    ),
}


@pytest.mark.parametrize("case", DENIED)
def test_what_is_not_known_by_name_and_type_is_denied_before_anybody_is_asked(case: str) -> None:
    path, fields = DENIED[case]
    server = Server()
    heard = ask(path, {"prompt": "a boat"} | fields, world=world(), server=server)
    assert heard.status in (404, 413, 422)
    assert set(heard.document) >= {"error", "detail", "body", "errors"}  # both shapes
    assert server.requests == []
    assert b"secret" not in heard.body


def test_the_server_is_sent_the_fields_that_were_asked_for_and_what_keeps_it_from_saving() -> None:
    server = Server()
    body = {"prompt": "a boat", "steps": 5, "send_images": False, "save_images": True, "force_task_id": "task(other)"}
    heard = ask(TXT, body | {"infotext": "", "styles": [], "override_settings": {}}, world=world(), server=server)
    assert heard.status == 200
    assert heard.document["images"] == []  # as it was asked
    assert server.requests == [
        {
            "prompt": "a boat",
            "negative_prompt": "",
            "steps": 5,
            "override_settings": {"sd_model_checkpoint": "demo"},
            "send_images": True,
            "save_images": False,
            "do_not_save_samples": True,
            "do_not_save_grid": True,
            "override_settings_restore_afterwards": True,
        }
    ]


def test_every_string_is_a_text_with_its_role_and_every_picture_is_one() -> None:
    found = wanted(
        IMG,
        prompt="a boat",
        negative_prompt="rain",
        sampler_name="Euler a",
        init_images=[DATA],
        mask=PICTURE,
        script_name="loopback",
        script_args=["more", 3],
        alwayson_scripts={
            "CONTROLNET": {"args": [UNIT, {"image": {"image": DATA, "mask": None}}]},
            "adetailer": {"args": [True, {"ad_prompt": "a face", "ad_negative_prompt": "a hat"}]},
        },
    )
    roles = {text.value: text.role for text in found.asked.texts}
    assert roles == {
        "a boat": TextRole.POSITIVE,
        "rain": TextRole.NEGATIVE,
        "Euler a": TextRole.OTHER,
        "more": TextRole.SECONDARY,
        "none": TextRole.SECONDARY,
        "None": TextRole.SECONDARY,
        "a face": TextRole.SECONDARY,
        "a hat": TextRole.NEGATIVE,
        "Loopback": TextRole.OTHER,
    } | {"Loopback": roles["Loopback"]}
    assert [picture.role for picture in found.asked.pictures] == [
        PictureRole.INIT,
        PictureRole.MASK,
        PictureRole.CONTROL,
        PictureRole.CONTROL,
    ]
    sent = found.body(passed(found))
    assert {DATA, PICTURE} & set(_all(sent)) == set()  # written again, without the text that was in it
    assert sum(value == base64.b64encode(found.asked.pictures[0].content).decode() for value in _all(sent)) == 4


def _all(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [each for inner in value.values() for each in _all(inner)]
    if isinstance(value, list):
        return [each for inner in value for each in _all(inner)]
    return [value] if isinstance(value, str) else []


def test_a_picture_is_sent_on_without_the_prompt_that_stood_in_it() -> None:
    found = wanted(IMG, init_images=[base64.b64encode(real(text="an umbrella in a garden")).decode()])
    assert b"umbrella" not in found.asked.pictures[0].content
    assert Image.open(io.BytesIO(found.asked.pictures[0].content)).size == (8, 8)


@pytest.mark.parametrize(
    ("script", "unit", "role"),
    [
        ("ControlNet", UNIT, PictureRole.CONTROL),
        ("controlnet", UNIT | {"module": "canny"}, PictureRole.CONTROL),
        ("controlnet", UNIT | {"module": "ip-adapter_clip_sd15"}, PictureRole.FACE),
        ("controlnet", UNIT | {"model": "IP_Adapter-FaceID"}, PictureRole.FACE),
        ("controlnet", UNIT | {"module": "InsightFace+CLIP-H"}, PictureRole.FACE),
        ("controlnet", UNIT | {"module": "InstantID_image_face_embedding"}, PictureRole.FACE),
        ("reactor", PICTURE, PictureRole.FACE),
    ],
)
def test_a_picture_that_a_face_may_be_taken_from_is_one_of_a_face(script: str, unit: Any, role: PictureRole) -> None:
    offer = Offer(model="demo", scripts=frozenset({"controlnet", "reactor"}))
    found = wanted(TXT, offer, alwayson_scripts={script: {"args": [unit]}})
    assert [picture.role for picture in found.asked.pictures] == [role]
    assert found.asked.pictures[0].where.startswith(f"alwayson_scripts.{script.lower()}.args[0]")


def test_base64_with_other_characters_in_it_is_the_picture_that_the_server_would_read() -> None:
    hidden = PICTURE[:40] + " . " + PICTURE[40:]
    found = wanted(TXT, alwayson_scripts={"controlnet": {"args": [UNIT | {"image": hidden}]}})
    assert len(found.asked.pictures) == 1


def test_a_style_is_put_into_the_prompt_here_and_screened_there() -> None:
    server = Server()
    heard = ask(TXT, {"prompt": "a boat", "styles": ["rainy", "plain"]}, world=world(), server=server)
    assert heard.status == 200
    assert server.requests[0]["prompt"] == "a boat under an umbrella, drawn"
    assert server.requests[0]["negative_prompt"] == "sun"
    assert "styles" not in server.requests[0]
    assert ask(TXT, {"prompt": "a garden", "styles": ["rainy"]}, world=world(), server=Server()).status == 400


def test_an_adapter_in_a_prompt_is_a_name_and_an_unknown_one_is_refused() -> None:
    found = wanted(TXT, prompt="<lora:ink:0.8> a boat <hypernet:moss>", hr_prompt="<lyco:sand:1:2>")
    names = {name.value for name in found.asked.names if name.kind is NameKind.ADAPTER}
    assert names == {"ink", "moss", "sand"}
    assert Name(NameKind.MODEL, "demo") in found.asked.names
    assert ask(TXT, {"prompt": "a boat <lora:ink:1>"}, world=world(), server=Server()).status == 200
    heard = ask(TXT, {"prompt": "a boat <lora:moss:1>"}, world=world(), server=Server())
    assert (heard.status, heard.document["moderation_details"]["categories"]) == (400, ["model"])


@pytest.mark.parametrize(
    ("prompt", "status"),
    [
        ("a boat", 200),
        ("a boat, bright-hands", 200),
        ("a boat, MOSS style", 400),
        ("(moss style:1.2)", 400),
        ("sand", 400),
    ],
)
def test_an_embedding_is_named_by_its_mere_name_and_one_that_is_not_offered_is_refused(
    prompt: str, status: int
) -> None:
    for field in ("prompt", "negative_prompt", "hr_prompt"):
        server = Server()
        assert ask(TXT, {field: prompt}, world=world(), server=server).status == status
        assert len(server.requests) == (status == 200)


@pytest.mark.parametrize("installed", [{}, [], {"loaded": []}, {"loaded": {"a" * 257: {}}}, "no"])
def test_a_server_that_does_not_tell_its_embeddings_is_not_asked_for_a_picture(installed: Any) -> None:
    server = Server(installed=installed)
    assert ask(TXT, {"prompt": "a boat"}, world=world(), server=server).status == 503
    assert server.requests == []


def test_the_embeddings_are_asked_for_once_a_minute() -> None:
    dialect, server = A1111(OFFER), Server()
    for _ in range(2):
        ask(TXT, {"prompt": "a boat"}, world=world(), server=server, dialect=dialect)
    assert server.paths.count("/sdapi/v1/embeddings") == 1
    dialect._installed.until = 0.0
    ask(TXT, {"prompt": "a boat"}, world=world(), server=server, dialect=dialect)
    assert server.paths.count("/sdapi/v1/embeddings") == 2


def test_planted_embeddings_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a1111_fields.Wanted, "naming", lambda self, names: self)
    assert ask(TXT, {"prompt": "sand"}, world=world(), server=Server()).status == 200


def test_a_rewriting_that_brings_in_an_adapter_or_a_wildcard_goes_no_further() -> None:
    found = wanted(TXT, prompt="a boat").naming(frozenset({"Moss Style"}))
    for text in ("a boat <lora:moss:1>", "a __season__ boat", "a moss style boat"):
        with pytest.raises(Exception, match="the rewriting"):
            found.body(passed(found, {"prompt": text}))


def test_without_a_named_model_there_must_be_one_to_send() -> None:
    with pytest.raises(DeniedError):
        wanted(TXT, Offer(), prompt="a boat")
    assert from_json(TXT, {"prompt": "a boat"}, Offer(), frozenset({"one"})).model == "one"
    chosen = {"sd_model_checkpoint": "dall-e-2"}
    assert wanted(TXT, prompt="a boat", override_settings=chosen).model == "dall-e-2"


def test_two_words_that_are_each_harmless_are_refused_wherever_they_stand() -> None:
    second = {
        "the negative prompt": {"negative_prompt": "garden"},
        "the second pass": {"enable_hr": True, "hr_prompt": "garden"},
        "its negative": {"hr_negative_prompt": "garden"},
        "a script": {"alwayson_scripts": {"ADetailer": {"args": [{"ad_prompt": "garden"}]}}},
        "a script's argument": {"script_name": "Loopback", "script_args": [["garden"]]},
        "a sampler's name": {"sampler_name": "garden"},
        "a setting": {"override_settings": {"CLIP_stop_at_last_layers": "garden"}},
    }
    for where, fields in second.items():
        server, here = Server(), world()
        heard = ask(TXT, {"prompt": "umbrella"} | fields, world=here, server=server)
        assert (heard.status, server.requests) == (400, []), where
        assert heard.document["moderation_details"] == {"moderation_stage": "input", "categories": ["safety"]}
        assert b"umbrella" not in heard.body
        assert b"garden" not in heard.body


def test_a_known_picture_is_refused_wherever_it_stands() -> None:
    known = base64.b64encode(real() + b"KNOWN").decode()
    places = {
        "init": (IMG, {"init_images": [known]}),
        "second init": (IMG, {"init_images": [PICTURE, known]}),
        "mask": (IMG, {"init_images": [PICTURE], "mask": known}),
        "control": (TXT, {"alwayson_scripts": {"ControlNet": {"args": [UNIT | {"image": known}]}}}),
        "a script's argument": (TXT, {"script_name": "Loopback", "script_args": [known]}),
    }
    for where, (path, fields) in places.items():
        server, here = Server(), world()
        heard = ask(path, {"prompt": "a boat"} | fields, world=here, server=server)
        assert (heard.status, server.requests) == (400, []), where
        assert len(here.evidence.kept) == 1, where


PLANTED: Mapping[str, tuple[str, Any, str]] = {
    "wildcards are let through": ("_expands", lambda text: False, "wildcards of the server's files"),
    "settings are not held against what is offered": (
        "_settings",
        lambda given, offer, models: {"sd_model_checkpoint": "demo", **given},
        "a setting that is not offered",
    ),
    "scripts are not held against what is offered": (
        "_scripts",
        lambda values, offer: {},
        "a script that is not offered",
    ),
    "models of later passes are not looked at": (
        "_models_known",
        lambda fields, models: None,
        "a refiner that is not offered",
    ),
    "keys of scripts are not looked at": (
        "_plain",
        lambda args, keys, where: args,
        "a key of a script that is not known",
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_with_its_guard_removed_what_was_denied_goes_through(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, instead, case = PLANTED[fault]
    monkeypatch.setattr(a1111_fields, name, instead)
    path, fields = DENIED[case]
    server = Server()
    assert ask(path, {"prompt": "a boat"} | fields, world=World(), server=server).status == 200
    assert len(server.requests) == 1


def test_with_a_texts_role_as_a_picture_it_would_pass_unscreened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the strings of scripts are not collected."""
    monkeypatch.setattr(a1111_fields, "strings", lambda value, where="": iter([("prompt", value["prompt"])]))
    body = {"prompt": "umbrella", "hr_prompt": "garden"}
    assert ask(TXT, body, world=world(), server=Server()).status == 200


def test_nothing_of_a_request_is_in_its_repr() -> None:
    found = wanted(IMG, prompt="a secret", init_images=[PICTURE])
    assert "secret" not in repr(found)
    assert MARK.decode()[:24] not in repr(found)
