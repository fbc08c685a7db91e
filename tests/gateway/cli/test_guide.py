"""The configuration that the guide shows is one, and so is every commented default that ``init`` writes."""

from __future__ import annotations

import re
from pathlib import Path

from custodes.config import create_site, load_site
from custodes.gateway.people.card import read_measures
from custodes.gateway.rules.policy import load_policy
from custodes.gateway.settings import GatewaySettings

DOCS = Path(__file__).parents[3] / "docs"
GUIDE = (DOCS / "guides" / "guard-a-generator.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)


def test_the_configuration_of_the_guide_is_read_and_says_what_it_says(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site", [], demo=True)
    text = site.path.read_text()
    whole = text[: text.index("[fetch]")] + BLOCKS[0].replace('key_sha256 = "…"', f'key_sha256 = "{"a" * 64}"')
    site.path.write_text(whole)
    read = load_site(str(site.path)).config
    assert (read.gateway.policy, read.gateway.tenants["shop"].images_per_day) == ("ours.toml", 5_000)
    assert [each.value for each in read.handover.two_person] == ["overturn"]


def test_the_policy_of_the_guide_stands_on_ours(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(BLOCKS[1])
    assert load_policy("ours.toml", tmp_path).jurisdiction == "uk"


def test_the_measurements_of_the_format_are_read(tmp_path: Path) -> None:
    (tmp_path / "measured.json").write_text(
        re.findall(r"```json\n(.*?)```", (DOCS / "formats" / "gateway-card.md").read_text(), re.DOTALL)[0]
    )
    assert read_measures(tmp_path / "measured.json")[0].on == 1_000


def test_what_init_writes_of_the_gateway_are_its_defaults_and_they_stand_last(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site", [], demo=True)
    text = site.path.read_text()
    last = text.index("\n[gateway]")
    assert [line for line in text[last:].splitlines() if re.match(r"\[(?!gateway)", line)] == []
    shown = re.sub(r"(?m)^#(?=[a-z_]+ = )", "", text[last:]).replace('vae = ["NAME.safetensors"]', "")
    site.path.write_text(text[:last] + shown)
    assert load_site(str(site.path)).config.gateway == GatewaySettings()
    assert len(re.findall(r"(?m)^[a-z_0-9]+ = ", shown)) > 45
