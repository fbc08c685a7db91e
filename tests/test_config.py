"""The configuration that init writes explains every setting, and says the defaults as they are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from custodes.config import Config, create_site, load_site
from custodes.decoding import ImageLimits
from custodes.errors import ConfigError
from custodes.examine import Evidence
from custodes.jobs import ScanRequest, prepare_scan
from custodes.jurisdictions import PolicySettings
from custodes.ledger.manifest import ListUsed, Manifest, differences, refuse_if_different
from custodes.lists.container import Provenance
from custodes.lists.matcher import MatchSettings
from custodes.lists.meaning import schemes_digest
from custodes.model import Action, Entry, Kind
from custodes.net import FetchLimits
from custodes.scan.run import ScanPlan, manifest_of, plan_scan
from custodes.scan.settings import ScanSettings, without_pace
from custodes.settings_text import configuration_text, settings_of
from custodes.sources.base import SourceOptions
from tests.world import make_site, write_links


def test_every_setting_has_its_meaning() -> None:
    silent = [
        s.name
        for struct in (FetchLimits, ImageLimits, MatchSettings, PolicySettings)
        for s in settings_of(struct)
        if not s.meaning
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
    assert spelt_out.policy.used() == as_written.policy.used() == PolicySettings().used()


def run_by(home: Path, config: str) -> Manifest:
    """The manifest of a scan under this configuration."""
    site = make_site(home / "site", config)
    settings = site.scan_settings(passes=("columns",))
    plan = plan_scan(str(write_links(home / "links.parquet", ["http://a.test/"])), SourceOptions(), settings)
    used = [ListUsed(id="one", version="1-aaaaaaaaaaaa")]
    return manifest_of(ScanPlan("links", plan, settings, used, ["age1x"], demo_authority=True, confinement=""))


@pytest.mark.parametrize(
    ("config", "changed"),
    [
        ('[policy]\njurisdiction = "us"\n', "settings.policy.jurisdiction was , is us"),
        ('[policy.actions.ncii]\nexact = "report"\n', "settings.policy.actions.ncii.exact was hold, is report"),
        ('[meaning.mine]\n"7" = "csam"\n', "settings.meaning.mine.7 was absent, is csam"),
        ("[match.one]\nflood_rows_min = 7\n", "settings.match.one.flood_rows_min was absent, is 7"),
    ],
    ids=["jurisdiction", "an action", "a meaning", "the flood guard"],
)
def test_what_decides_makes_a_run_what_it_is(tmp_path: Path, config: str, changed: str) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = run_by(tmp_path / "old", ""), run_by(tmp_path / "new", config)
    assert changed in differences(old, new)
    with pytest.raises(ConfigError, match="was started with something else"):
        refuse_if_different(old, new)


def test_other_tables_of_categories_make_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = run_by(tmp_path, "").settings["schemes"]
    assert old == schemes_digest()
    settings = msgspec.convert({"schemes": "of another day"}, ScanSettings)
    assert settings.schemes != old
    assert without_pace(settings)["schemes"] == "of another day"


def test_a_site_judges_by_its_configuration(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", '[policy.actions.ncii]\nexact = "report"\n[meaning.mine]\n"7" = "ncii"\n')
    entries = [Entry(Kind.MD5, bytes(range(16)), "1", "7"), Entry(Kind.MD5, bytes(range(1, 17)), "2", "8")]
    site.lists().import_entries("one", entries, Provenance(source="test", scheme="mine"))
    codes = np.array([list(each.value) for each in entries], np.uint8)
    evidence = Evidence({Kind.MD5: (np.arange(2), codes)})
    shelf = site.shelf(site.lists_used())
    judged = [
        {row: (each.action, each.rule) for row, each in examiner.judge(evidence).items()}
        for examiner in (site.examiner(), site.examiner_of(shelf, site.scan_settings()))
    ]
    shelf.close()
    assert judged == [{0: (Action.REPORT, "exact-ncii"), 1: (Action.HOLD, "exact-unmapped")}] * 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fetch]\nconnect_timeout_s = 0\n", "connect_timeout_s must be"),
        ('[scan]\ndecode_policy = "fast/1"\n', "decode_policy fast/1 is not made any more: use fast/2 or exact/1"),
        ("[fetch]\ntimeout = 3\n", "unknown field `timeout`"),
        ("[scan]\npasses = ['embeddings']\n", r"\$\.scan\.passes"),
        ("[match.a]\npdq_distance_bits = 65\n", "pdq_distance_bits must be"),
        ("[authority]\nrecipients = 'age1x'\n", r"\$\.authority\.recipients"),
        ("[match.a]\nflood_share_max = 1.5\n", "flood_share_max must be"),
        ('[policy]\njurisdiction = "atlantis"\n', "no jurisdiction 'atlantis'"),
        ('[policy.actions.unmapped]\nexact = "report"\n', "does not hold entries that are unmapped"),
        ('[meaning.iwf]\n"Category A" = "certain"\n', r"\$\.meaning"),
        ('[meaning.""]\n"A" = "csam"\n', "state no scheme"),
        ("scan = [", "Invalid value"),
    ],
    ids=[
        *("out of range", "an old policy", "unknown", "no such pass", "too far", "not a list", "no share", "nowhere"),
        *("acting on what is not understood", "no such class", "guessing", "not TOML"),
    ],
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


@pytest.mark.parametrize("name", ["transport.key", "signing.key", "signing.vkey"])
def test_a_key_that_findings_are_handed_over_with_is_missed_before_the_first_row(tmp_path: Path, name: str) -> None:
    site = create_site(tmp_path / "site", [], demo=True)
    site.check_keys()
    (tmp_path / "site" / "keys" / name).unlink()
    request = ScanRequest(source=str(tmp_path / "links.parquet"), run=tmp_path / "run")
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        prepare_scan(site, request)
    assert not (tmp_path / "run").exists()
