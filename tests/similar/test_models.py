"""Provenance cards: what is known is told, what is tainted is refused by name and by digest, and a card says what it is about."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from custodes.cli.main import cli
from custodes.errors import InputError
from custodes.similar import models
from custodes.similar.embedders import EmbedderOptions, missing, open_embedder
from custodes.similar.models import Card, Weights, card_of, cards, packaged_file, refuse_tainted

OWN = """
[own]
title = "An encoder of ours"
origin = "this site"
source = "this site"
licence = "Apache-2.0"
training_data = "photographs of umbrellas"
as_of = 2026-11-23
loader = "onnx"
dimension = 16
sha256 = ["{digest}"]
"""
DIGEST = "0" * 63 + "1"
TAINTED = [name for name, card in cards().items() if card.tainted]


def own(**changes: object) -> Card:
    plain = card_of_text(OWN.format(digest=DIGEST))
    return msgspec.structs.replace(plain, **changes)


def card_of_text(text: str) -> Card:
    ((name, table),) = models.tomllib.loads(text).items()
    return msgspec.convert({"name": name, **table}, Card)


def test_every_card_says_where_its_model_comes_from() -> None:
    for card in cards().values():
        stated = (card.title, card.origin, card.source, card.licence, card.training_data)
        assert all(stated), card.name
        assert card.findings, card.name
        assert card.as_of <= datetime.datetime.now(datetime.UTC).date()
        assert not card.tainted or card.aliases, card.name
        assert all(re.fullmatch("[a-z0-9]+", alias) for alias in card.aliases)
    assert {"open-nsfw", "openclip", "nudenet"} <= cards().keys()
    assert "nudenet" in TAINTED
    assert "undisclosed" in cards()["open-nsfw"].training_data


@pytest.mark.parametrize("name", TAINTED)
def test_tainted_models_are_refused_by_name(name: str) -> None:
    with pytest.raises(InputError, match="is tainted") as caught:
        open_embedder(name)
    assert "--accept-tainted" in (caught.value.hint or "")


def test_a_tainted_model_may_be_accepted_and_is_still_not_run_without_a_recipe() -> None:
    with pytest.raises(InputError, match="nothing here runs nudenet"):
        open_embedder("nudenet", EmbedderOptions(accept_tainted=True))


DISGUISES: dict[str, tuple[dict[str, object], Weights | None]] = {
    "its name": ({"name": "our-NudeNet_v3"}, None),
    "its source": ({"source": "https://example.org/Nude-Net/"}, None),
    "what it was trained on": ({"training_data": "LAION-2B, some of it"}, None),
    "its file": ({}, Weights(b"", "nudenet-320n.onnx", DIGEST)),
    "its digest": ({}, Weights(b"", "model.onnx", cards()["nudenet"].sha256[0])),
    "its own card": ({"tainted": True}, None),
}


@pytest.mark.parametrize(("changes", "weights"), DISGUISES.values(), ids=DISGUISES)
def test_tainted_models_are_known_under_another_card(changes: dict[str, object], weights: Weights | None) -> None:
    with pytest.raises(InputError, match="is tainted"):
        refuse_tainted(own(**changes), weights, accept_tainted=False)
    refuse_tainted(own(**changes), weights, accept_tainted=True)


def test_planted_fault_without_digests_a_renamed_file_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = Weights(b"", "model.onnx", cards()["nudenet"].sha256[0])
    blind = {name: msgspec.structs.replace(card, sha256=(DIGEST,)) for name, card in cards().items()}
    monkeypatch.setattr(models, "cards", lambda: blind)
    refuse_tainted(own(), renamed, accept_tainted=False)


@pytest.mark.parametrize("name", [name for name in cards() if name not in TAINTED])
def test_other_models_are_not_taken_for_tainted_ones(name: str) -> None:
    refuse_tainted(cards()[name], Weights(b"", "open-nsfw.onnx", DIGEST), accept_tainted=False)
    refuse_tainted(own(), Weights(b"", "model.onnx", DIGEST), accept_tainted=False)


def test_an_operators_card_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN.format(digest=DIGEST))
    card = card_of(str(path))
    assert (card.name, card.dimension, card.recipe.side) == ("own", 16, 224)


WRONG_CARDS: dict[str, str] = {
    "not TOML": "[own",
    "not text": "\ufffd[own]",
    "empty": "",
    "two tables": OWN.format(digest=DIGEST) + OWN.format(digest=DIGEST).replace("[own]", "[other]"),
    "no table": "own = 1",
    "a field that is none": OWN.format(digest=DIGEST) + 'mean = "0"',
    "no digest": OWN.replace('sha256 = ["{digest}"]', ""),
    "a digest that is short": OWN.format(digest=DIGEST[1:]),
    "a digest in capitals": OWN.format(digest="A" * 64),
    "no dimension": OWN.format(digest=DIGEST).replace("dimension = 16", ""),
    "a dimension too large": OWN.format(digest=DIGEST).replace("= 16", "= 16385"),
    "a loader that is none": OWN.format(digest=DIGEST).replace('"onnx"', '"pickle"'),
    "an architecture from the hub": OWN.format(digest=DIGEST).replace(
        'loader = "onnx"', 'loader = "openclip"\narchitecture = "hf-hub:a/b"'
    ),
    "a recipe that cannot be": OWN.format(digest=DIGEST) + "[own.recipe]\nside = 0\n",
    "too long": OWN.format(digest=DIGEST) + "#" * models.CARD_BYTES_MAX,
}


@pytest.mark.parametrize("text", WRONG_CARDS.values(), ids=WRONG_CARDS)
def test_a_card_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"is no card|larger than"):
        card_of(str(path))


def test_the_largest_dimension_and_card_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = OWN.format(digest=DIGEST).replace("= 16", "= 16384")
    path.write_text(text + "#" * (models.CARD_BYTES_MAX - len(text)))
    assert card_of(str(path)).dimension == 16384


def test_a_model_that_is_not_known_and_a_card_that_is_not_there_are_told() -> None:
    with pytest.raises(InputError, match="there is no model 'other'") as caught:
        card_of("other")
    assert "open-nsfw" in (caught.value.hint or "")
    with pytest.raises(InputError, match=r"the card none\.toml cannot be read"):
        card_of("none.toml")


def test_a_package_that_is_not_installed_has_no_file() -> None:
    assert packaged_file(own(package="custodes-has-no-such-package==1")) is None
    assert packaged_file(own(package="pytest", file="no/such/file.onnx")) is None
    assert missing(own(package="pytest==9", file="no/such/file.onnx")) == "pip install --no-deps pytest==9"


def test_the_command_shows_every_card_and_what_was_found() -> None:
    shown = CliRunner().invoke(cli, ["similar", "models"], catch_exceptions=False)
    for card in cards().values():
        assert f"{card.name}: {card.title}" in shown.output
        assert all(finding in " ".join(shown.output.split()) for finding in card.findings)
    assert shown.output.count("tainted, refused without --accept-tainted") == len(TAINTED)
    listed = json.loads(CliRunner().invoke(cli, ["similar", "models", "--json"]).stdout)
    assert listed.keys() == cards().keys()
    assert listed["nudenet"]["tainted"] is True
    assert listed["nudenet"]["missing"] == "nothing here runs it"
