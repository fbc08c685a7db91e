"""What of an A1111 server's answers reaches a client: pictures that were released, and figures. Whatever breaks, no pixel of the server leaves."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from custodes.gateway.dialects import a1111, a1111_answers
from custodes.gateway.guard import Guard, Passage, Released, Withheld
from tests.gateway.a1111.server import GARBAGE, LEAK, Server, real
from tests.gateway.a1111.worlds import AUTH, ask, world
from tests.gateway.fakes import KEY, leaked

TXT, IMG = "/sdapi/v1/txt2img", "/sdapi/v1/img2img"
AGAIN = base64.b64encode(b"written again: ")
CHECKS = ("screening", "inspecting", "ruling", "rewriting", "remote", "records", "evidence", "people")
CHANNELS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "txt2img": (TXT, {"prompt": "a mild boat", "batch_size": 2}),
    "img2img": (IMG, {"prompt": "a mild boat", "init_images": [base64.b64encode(real()).decode()]}),
}


def silent(heard: Any) -> None:
    """Nothing was let through."""
    assert not leaked(heard.body)
    assert LEAK.encode()[:48] not in heard.body
    assert AGAIN not in heard.body
    assert heard.status in (0, 400, 422, 503)


def test_an_answer_is_built_anew_and_says_what_was_rewritten() -> None:
    server = Server()
    heard = ask(TXT, {"prompt": "a mild boat", "n_iter": 2, "steps": 4}, world=world(), server=server)
    assert heard.status == 200
    assert not leaked(heard.body)
    assert LEAK not in heard.body.decode()
    assert server.requests[0]["prompt"] == "a wild boat"
    assert [base64.b64decode(image)[:15] for image in heard.document["images"]] == [b"written again: "] * 2
    assert heard.document["parameters"] == {"prompt": "a wild boat", "n_iter": 2, "steps": 4}
    told = json.loads(heard.document["info"])
    assert (told["seed"], told["all_seeds"], told["prompt"]) == (5, [5, 6], "a wild boat")
    assert (told["infotexts"], told["sd_model_name"], told["index_of_first_image"]) == (["", ""], "demo", 0)
    assert heard.document["x_gateway"] == {"blocked": [], "revised": ["prompt"]}


def test_a_withheld_picture_is_left_out_and_the_others_go() -> None:
    here = world()
    here.inspecting.bad = {1}
    heard = ask(TXT, {"prompt": "a boat", "batch_size": 3}, world=here, server=Server())
    assert len(heard.document["images"]) == 2
    assert heard.document["x_gateway"] == {"blocked": [1]}
    assert len(here.evidence.kept) == 1


@pytest.mark.parametrize("bad", [{0}, {1}, {3}])
def test_with_a_grid_or_maps_in_the_answer_one_withheld_picture_withholds_all(bad: set[int]) -> None:
    here = world()
    here.inspecting.bad = bad
    heard = ask(TXT, {"prompt": "a boat", "batch_size": 2}, world=here, server=Server(extra=2))
    assert heard.status == 400
    assert heard.document["error"] == "moderation_blocked"
    assert heard.document["moderation_details"] == {"moderation_stage": "output", "categories": ["safety"]}
    silent(heard)
    assert here.inspecting.seen[-4:] == [("output", str(number)) for number in range(4)]  # each of them was looked at


def test_grids_and_maps_that_pass_go_with_the_rest() -> None:
    heard = ask(TXT, {"prompt": "a boat", "batch_size": 2}, world=world(), server=Server(extra=2))
    assert len(heard.document["images"]) == 4


def test_all_withheld_is_a_refusal_and_never_an_empty_answer() -> None:
    here = world()
    here.inspecting.bad = {0}
    heard = ask(TXT, {"prompt": "a boat"}, world=here, server=Server())
    assert heard.status == 400
    silent(heard)


def test_progress_is_figures_and_no_picture() -> None:
    server = Server()
    heard = ask("/sdapi/v1/progress?skip_current_image=false", world=world(), server=server)
    assert heard.document["progress"] == 0.5
    assert heard.document["state"]["sampling_step"] == 3
    assert (heard.document["current_image"], heard.document["textinfo"]) == (None, None)
    assert LEAK.encode()[:48] not in heard.body
    assert server.paths == ["/sdapi/v1/progress?skip_current_image=true"]


@pytest.mark.parametrize("which", ["samplers", "schedulers", "upscalers", "latent-upscale-modes"])
def test_lists_of_the_server_are_names_and_no_paths(which: str) -> None:
    heard = ask(f"/sdapi/v1/{which}", world=world(), server=Server())
    assert [each["name"] for each in heard.document] == ["Euler a"]
    assert LEAK.encode()[:48] not in heard.body


@pytest.mark.parametrize("which", ["sd-models", "loras", "embeddings", "prompt-styles", "scripts", "options"])
def test_what_is_offered_is_told_without_asking_the_server(which: str) -> None:
    server = Server()
    heard = ask(f"/sdapi/v1/{which}", world=world(), server=server)
    assert heard.status == 200
    assert server.paths == []


UNKNOWN = (
    ("POST", "/sdapi/v1/options"),
    ("POST", "/sdapi/v1/extra-single-image"),
    ("POST", "/sdapi/v1/extra-batch-images"),
    ("POST", "/sdapi/v1/png-info"),
    ("POST", "/sdapi/v1/interrogate"),
    ("POST", "/sdapi/v1/interrupt"),
    ("POST", "/sdapi/v1/skip"),
    ("POST", "/sdapi/v1/server-kill"),
    ("POST", "/sdapi/v1/create/embedding"),
    ("POST", "/sdapi/v1/refresh-checkpoints"),
    ("GET", "/sdapi/v1/cmd-flags"),
    ("GET", "/sdapi/v1/memory"),
    ("GET", "/sdapi/v1/script-info"),
    ("GET", "/sdapi/v1/txt2img"),
    ("GET", "/sdapi/v1/progress/x"),
    ("GET", "/sdapi/v2/txt2img"),
    ("POST", "/internal/progress"),
    ("GET", "/internal/sysinfo"),
    ("POST", "/queue/join"),
    ("POST", "/run/predict"),
    ("GET", "/file=/etc/passwd"),
    ("POST", "/controlnet/detect"),
    ("GET", "/sd_extra_networks/thumb?filename=a"),
    ("GET", "/sd_extra_networks/metadata?item=a"),
    ("GET", "/"),
)


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_every_other_path_does_not_exist(method: str, path: str) -> None:
    server = Server()
    heard = ask(path, {} if method == "POST" else None, world=world(), server=server, method=method)
    assert heard.status == 404
    assert server.paths == []
    if path.startswith("/sdapi/"):
        assert set(heard.document) >= {"error", "detail", "body", "errors"}


KEYS = {
    "the password": (AUTH, 200),
    "a bearer": (f"Bearer {KEY}", 200),
    "no key": ("", 401),
    "another password": ("Basic " + base64.b64encode(b"a:b").decode(), 401),
    "an empty password": ("Basic " + base64.b64encode(f"{KEY}:".encode()).decode(), 401),
    "no colon": ("Basic " + base64.b64encode(KEY.encode()).decode(), 401),
    "no base64": ("Basic %%%", 401),
    "no UTF-8": ("Basic " + base64.b64encode(b"\xff:" + KEY.encode()).decode(), 401),
}


@pytest.mark.parametrize("case", KEYS)
@pytest.mark.parametrize("path", [TXT, "/sdapi/v1/progress", "/sdapi/v1/sd-models", "/sdapi/v1/samplers"])
def test_the_key_is_the_password_on_every_path(case: str, path: str) -> None:
    auth, status = KEYS[case]
    body = {"prompt": "a boat"} if path == TXT else None
    heard = ask(path, body, world=world(), server=Server(), auth=auth)
    assert heard.status == status
    assert status == 200 or b"WWW-Authenticate" in heard.body


def test_the_users_name_is_a_hint() -> None:
    here = world()
    ask(TXT, {"prompt": "a boat"}, world=here, server=Server())
    assert here.people.seen[0].user == "u-8"


# -- faults


AT_ONCE = {("screening", "hangs"), ("ruling", "hangs"), ("people", "hangs")}
"""What answers at once, and whom nobody waits for with a limit."""


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(
    ("check", "how"),
    [pair for pair in itertools.product(CHECKS, ("raises", "hangs", "garbage")) if pair not in AT_ONCE],
)
def test_a_broken_check_lets_nothing_through(channel: str, check: str, how: str) -> None:
    path, body = CHANNELS[channel]
    here = world().breaking(check, how)
    here.inspecting.bad = {0} if check == "evidence" else set()
    heard = ask(path, body, world=here, server=Server())
    if (check, how) in {("records", "garbage"), ("evidence", "garbage")}:  # what they return is not read
        assert not leaked(heard.body)
    else:
        silent(heard)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(
    ("behaves", "detail"),
    [
        *(("garbage", which) for which in GARBAGE),
        *(("status", status) for status in (201, 204, 400, 404, 422, 429, 500, 503)),
        ("early", None),
        ("slow", 1.5),
        ("redirect", None),
    ],
)
def test_a_server_that_misbehaves_is_a_fault(channel: str, behaves: str, detail: Any) -> None:
    path, body = CHANNELS[channel]
    silent(ask(path, body, world=world(), server=Server(behaves, detail)))


def test_a_server_that_keeps_its_pictures_is_a_fault() -> None:
    """``send_images`` is forced; one that does not send all the same has something that nobody looked at."""
    heard = ask(TXT, {"prompt": "a boat"}, world=world(), server=Server("garbage", "no images"))
    assert heard.status == 503


# -- planted: with its guard removed, each leak is seen by the checks above


async def _unjudged(self: Guard, passage: Passage, images: Any) -> list[Released | Withheld]:
    return [Released(image, "png") for image in images]


def test_planted_the_pictures_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "release", _unjudged)
    assert leaked(ask(TXT, {"prompt": "a boat"}, world=world(), server=Server()).body)


def test_planted_the_progress_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a1111, "progress", lambda answer: json.loads(answer.body))
    assert LEAK.encode() in ask("/sdapi/v1/progress", world=world(), server=Server()).body


def test_planted_the_info_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a1111, "info", lambda made, *_: LEAK)
    assert LEAK.encode() in ask(TXT, {"prompt": "a boat"}, world=world(), server=Server()).body


def test_planted_lists_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a1111, "shown", lambda answer, which: json.loads(answer.body))
    assert LEAK.encode() in ask("/sdapi/v1/samplers", world=world(), server=Server()).body


def test_planted_a_grid_leaves_though_a_picture_in_it_was_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    made = a1111_answers.made
    monkeypatch.setattr(a1111, "made", lambda *given: replace(made(*given), composed=False))
    here = world()
    here.inspecting.bad = {1}
    heard = ask(TXT, {"prompt": "a boat", "batch_size": 2}, world=here, server=Server(extra=1))
    assert heard.status == 200


def test_planted_the_number_of_pictures_is_not_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a1111_answers, "EXTRA_MAX", 0)
    assert ask(TXT, {"prompt": "a boat"}, world=world(), server=Server(extra=1)).status == 503
    monkeypatch.undo()
    assert ask(TXT, {"prompt": "a boat"}, world=world(), server=Server(extra=32)).status == 200
    assert ask(TXT, {"prompt": "a boat"}, world=world(), server=Server(extra=33)).status == 503
