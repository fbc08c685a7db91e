"""The configuration that init writes explains every setting, and says the defaults as they are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from custodes.config import Config, create_site, load_site
from custodes.decoding import ImageLimits
from custodes.errors import ConfigError
from custodes.lists.matcher import MatchSettings
from custodes.net import FetchLimits
from custodes.settings_text import configuration_text, settings_of


def test_every_setting_has_its_meaning() -> None:
    silent = [
        s.name for struct in (FetchLimits, ImageLimits, MatchSettings) for s in settings_of(struct) if not s.meaning
    ]
    assert silent == []


def test_with_every_default_uncommented_the_configuration_is_the_same() -> None:
    text = configuration_text(["age1x"], demo=False)
    uncommented = re.sub(r"(?m)^#(?=[a-z_\[])", "", text).replace("[match.LIST]", "[match.some]")
    spelt_out = msgspec.convert(tomllib.loads(uncommented), Config)
    as_written = msgspec.convert(tomllib.loads(text), Config)
    assert spelt_out.fetch == as_written.fetch == FetchLimits()
    assert spelt_out.image == ImageLimits()
    assert spelt_out.scan == as_written.scan
    assert spelt_out.match == {"some": MatchSettings()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fetch]\nconnect_timeout_s = 0\n", "connect_timeout_s must be"),
        ('[scan]\ndecode_policy = "fast/1"\n', "decode_policy fast/1 is not made any more: use fast/2 or exact/1"),
        ("[fetch]\ntimeout = 3\n", "unknown field `timeout`"),
        ("[scan]\npasses = ['embeddings']\n", r"\$\.scan\.passes"),
        ("[match.a]\npdq_distance_bits = 65\n", "pdq_distance_bits must be"),
        ("[authority]\nrecipients = 'age1x'\n", r"\$\.authority\.recipients"),
        ("scan = [", "Invalid value"),
    ],
    ids=["out of range", "an old policy", "unknown", "no such pass", "too far", "not a list", "not TOML"],
)
def test_a_setting_that_does_not_fit_is_named_by_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "custodes.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_site(str(tmp_path))


def test_without_an_authority_nothing_that_could_find_something_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no authority"):
        create_site(tmp_path / "site", []).recipients()


def test_a_private_key_is_refused_wherever_it_turns_up(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site", [], demo=True)
    secret = (tmp_path / "site" / "demo-authority.key").read_text().splitlines()[-1]
    site.path.write_text(site.path.read_text() + f"# {secret.lower()}\n")
    with pytest.raises(ConfigError, match="private key") as caught:
        load_site(str(site.path))
    assert secret.lower() not in str(caught.value).lower()
