"""``custodes serve``: what a service that would be of no use, or unsafe, is refused for, and how tenants get their keys."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.serving.service import served_site
from tests.world import custodes

from custodes.config import create_site, load_site
from custodes.errors import ConfigError
from custodes.serving.settings import ServeSettings, Tenant

LIMITS: dict[str, tuple[type[msgspec.Struct], dict[str, Any], bool]] = {
    "a port": (ServeSettings, {"port": 65_535}, True),
    "a port too high": (ServeSettings, {"port": 65_536}, False),
    "a negative port": (ServeSettings, {"port": -1}, False),
    "a name for an address": (ServeSettings, {"host": "localhost"}, False),
    "all addresses": (ServeSettings, {"host": "::"}, True),
    "a certificate alone": (ServeSettings, {"tls_certificate": "c.pem"}, False),
    "no decoder": (ServeSettings, {"decoders": 0}, False),
    "no step": (ServeSettings, {"latency_step_ms": 0}, True),
    "a step of more than a second": (ServeSettings, {"latency_step_ms": 1_001}, False),
    "an unknown setting": (ServeSettings, {"colour": 1}, False),
    "a name with a slash": (ServeSettings, {"tenants": {"a/b": {"key_sha256": "0" * 64}}}, False),
    "a name with dots": (ServeSettings, {"tenants": {"..": {"key_sha256": "0" * 64}}}, False),
    "a name of 63": (ServeSettings, {"tenants": {"a" * 63: {"key_sha256": "0" * 64}}}, True),
    "a name of 64": (ServeSettings, {"tenants": {"a" * 64: {"key_sha256": "0" * 64}}}, False),
    "one key for two": (ServeSettings, {"tenants": {n: {"key_sha256": "0" * 64} for n in "ab"}}, False),
    "no key": (Tenant, {}, False),
    "a key itself": (Tenant, {"key_sha256": "0" * 63}, False),
    "a digest in capitals": (Tenant, {"key_sha256": "A" * 64}, False),
    "no probe but the match": (Tenant, {"key_sha256": "0" * 64, "probes_per_hit": 1}, False),
    "one probe": (Tenant, {"key_sha256": "0" * 64, "probes_per_hit": 2}, True),
    "no request": (Tenant, {"key_sha256": "0" * 64, "requests_per_minute": 0}, False),
}


@pytest.mark.parametrize(("kind", "given", "fits"), LIMITS.values(), ids=LIMITS)
def test_settings_have_limits(kind: type[msgspec.Struct], given: dict[str, Any], fits: bool) -> None:
    if fits:
        msgspec.convert(given, kind)
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(given, kind)


def test_a_new_configuration_has_the_defaults_and_no_tenant(tmp_path: Path) -> None:
    assert create_site(tmp_path / "site", [], demo=True).config.serve == ServeSettings()


def test_a_key_is_printed_once_and_only_its_digest_is_for_the_configuration() -> None:
    done = custodes("serve", "key", "platform-1")
    key, *section = done.stdout.splitlines()
    (name, values), *_ = tomllib.loads("\n".join(section))["serve"]["tenants"].items()
    assert (name, values) == ("platform-1", {"key_sha256": hashlib.sha256(key.encode()).hexdigest()})
    assert len(bytes.fromhex(key)) == 32
    assert custodes("serve", "key", "platform-1").stdout != done.stdout
    told = json.loads(custodes("serve", "key", "platform-1", "--json").stdout)
    assert hashlib.sha256(told["key"].encode()).hexdigest() == told["key_sha256"]


@pytest.mark.parametrize("name", ["", "A", "a/b", "../a", "a b"])
def test_a_name_that_cannot_be_a_tenants_gets_no_key(name: str) -> None:
    done = custodes("serve", "key", name)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_tenant_that_has_a_key_is_not_given_a_second_one_by_accident(tmp_path: Path) -> None:
    site = served_site(tmp_path / "site", count=1)
    done = custodes("serve", "key", "trusted", "--config", site.path)
    assert (done.returncode, done.stdout) == (2, "")
    assert custodes("serve", "unlock", "nobody", "--config", site.path).returncode == 2


REFUSED = {
    "no tenant": ("[serve]\n", "names no tenant", []),
    "beyond loopback without TLS": ('[serve]\nhost = "0.0.0.0"\n{tenant}', "there is no TLS", []),
    "a certificate that is not there": (
        '[serve]\ntls_certificate = "c"\ntls_key = "k"\n{tenant}',
        "cannot be loaded",
        [],
    ),
    "no list": ("[serve]\n{tenant}", "no hash list", []),
}
TENANT = f'[serve.tenants.a]\nkey_sha256 = "{"0" * 64}"\n'


@pytest.mark.parametrize(("text", "said", "options"), REFUSED.values(), ids=REFUSED)
def test_a_service_that_nobody_could_trust_or_use_does_not_start(
    tmp_path: Path, text: str, said: str, options: list[str]
) -> None:
    site = create_site(tmp_path / "site", [], demo=True)
    held = site.path.read_text()
    site.path.write_text(held[: held.index("[serve]")] + text.replace("{tenant}", TENANT))
    done = custodes("serve", "match", "--check", "--config", site.path, *options)
    assert done.returncode == 2
    assert said in done.stderr


def test_without_an_authority_no_service_starts(tmp_path: Path) -> None:
    site = served_site(tmp_path / "site", count=1)
    lines = site.path.read_text().splitlines()
    site.path.write_text("\n".join("recipients = []" if line.startswith("recipients") else line for line in lines))
    done = custodes("serve", "match", "--check", "--config", site.path)
    assert done.returncode == 2
    assert "names no authority" in done.stderr


def test_check_looks_at_everything_and_starts_nothing(tmp_path: Path) -> None:
    site = served_site(tmp_path / "site", 'host = "0.0.0.0"', count=1)
    done = custodes("serve", "match", "--check", "--json", "--unsafe-plain-http", "--config", site.path)
    assert (done.returncode, json.loads(done.stdout)["tenants"]) == (0, 3)
    assert not (site.path.parent / "state").exists()


def test_a_key_in_the_configuration_is_named_by_its_place_and_not_shown(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site", [], demo=True)
    secret = "5e" * 31
    held = site.path.read_text()
    site.path.write_text(held[: held.index("[serve]")] + f'[serve.tenants.a]\nkey_sha256 = "{secret}"\n')
    with pytest.raises(ConfigError, match=r"serve\.tenants") as caught:
        load_site(str(site.path))
    assert secret not in str(caught.value)
