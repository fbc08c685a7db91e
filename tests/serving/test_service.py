"""The whole service, in its processes: images through the jail, matchers that die, load and are replaced, and what each process can reach."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import resource
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PIL import Image
from tests.serving.service import Served, digest, distance, entries, running, served_site, turned, until

from custodes.channel import encode
from custodes.config import Site
from custodes.decoding import ImageLimits
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind
from custodes.serving.messages import FrontHello
from custodes.serving.settings import ServeSettings

ROOT = Path(__file__).parents[2]


def picture(seed: int) -> bytes:
    """A procedural picture."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8))
    out = io.BytesIO()
    small.resize((320, 240), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = served_site(tmp_path_factory.mktemp("served") / "site", limits="requests_per_minute = 1_000_000")
    listed = [Entry(Kind.SHA256, hashlib.sha256(picture(1)).digest(), "p", "A1")]
    site.lists().import_entries("pictures", listed, Provenance(source="test"))
    return site


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Served]:
    with running(site) as served:
        yield served


def verdict(served: Served, data: bytes) -> tuple[str, str]:
    answer = served.ask("POST", "/v1/images", data, "images")
    assert answer.status == 200
    said = json.loads(answer.said)  # type: ignore[attr-defined]
    return said["verdict"], said["reason"]


IMAGES = {
    "listed": (picture(1), ("hold", "")),
    "another": (picture(2), ("ok", "")),
    "cut": (picture(2)[:2000], ("unexamined", "partial_damaged")),
    "no picture": (b"words", ("unexamined", "not_image")),
    "empty": (b"", ("unexamined", "empty")),
}


@pytest.mark.parametrize(("data", "said"), IMAGES.values(), ids=IMAGES)
def test_an_image_is_decoded_in_the_jail_and_judged(served: Served, data: bytes, said: tuple[str, str]) -> None:
    found = verdict(served, data)
    assert found == said or (found[0] == said[0] == "unexamined" and data)


def test_digests_are_judged_many_at_once_and_by_many_clients(served: Served) -> None:
    listed, free = {"sha256": digest(7, Kind.SHA256).hex()}, {"sha256": "0" * 64}
    answers: list[object] = []

    def client() -> None:
        for _ in range(5):
            answers.append(served.digests("trusted", *[listed, free] * 20))

    threads = [Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(200, {"verdicts": ["hold", "ok"] * 20})] * 40


def test_the_attack_over_http_locks_its_tenant_and_no_other(served: Served) -> None:
    listed = digest(11)
    inside = turned(listed, *range(28))

    def held(code: bytes, key: str) -> bool:
        status, said = served.digests(key, {"pdq": code.hex(), "quality": 100})
        assert status == 200
        return bool(said["verdicts"] == ["hold"])

    assert held(inside, "other")
    assert not held(turned(inside, *range(28, 36)), "trusted")  # which is outside, and would have said so
    found = inside
    for bit in range(28, 256):  # the walk away never ends
        assert held(found := turned(found, bit), "other")
    assert distance(found, listed) > 31
    assert held(bytes(32), "other")
    assert not held(bytes(32), "trusted")
    assert "tenant other is locked" in served.told.read_text()


def test_the_front_has_no_file_of_the_site_open_and_may_grow_none(served: Served, site: Site) -> None:
    (front,) = served.children("front")
    reached = [str(path.readlink()) for path in Path(f"/proc/{front}/fd").iterdir()]
    assert [path for path in reached if path.startswith(f"{site.path.parent}/")] == []
    assert "NoNewPrivs:\t1" in Path(f"/proc/{front}/status").read_text()
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        assert resource.prlimit(front, limit) == (0, 0)


TAKEN_OVER = """
import sys
import custodes.serving.front as front

async def serve(hello, decoders, sockets, tls):
    said = []
    for path, mode in zip(sys.argv[1:], "rrw"):
        try:
            open(path, mode).close()
            said.append("opened")
        except OSError as error:
            said.append(type(error).__name__)
    sys.stderr.write(" ".join(said))

front.serve = serve
if sys.argv[4] == "planted":
    front.confine_carrier = lambda *_, **__: None
front.main()
"""


@pytest.mark.parametrize(("fault", "said"), [("none", ["PermissionError"] * 3), ("planted", ["opened"] * 3)])
def test_whoever_takes_the_front_over_opens_no_key_or_list_and_writes_no_file(
    site: Site, tmp_path: Path, fault: str, said: list[str]
) -> None:
    home = site.path.parent
    (listed,) = (home / "lists" / "pictures").glob("*.list")
    argv = [sys.executable, "-c", TAKEN_OVER, home / "keys" / "lists.key", listed, tmp_path / "new", fault]
    hello = FrontHello(ServeSettings(port=0), ImageLimits(), 0)
    done = subprocess.run(argv, input=encode(hello), capture_output=True, check=False)
    assert done.stderr.decode().split() == said


def test_the_front_imports_nothing_that_reads_lists_or_keys() -> None:
    program = (
        "import sys, custodes.serving.front\n"
        "sys.exit(str([m for m in sys.modules if m.startswith(('custodes.lists', 'custodes.crypto', 'custodes.examine', 'custodes.config'))] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() in ("", "[]"), done.stderr


def test_the_matcher_cannot_be_read_and_leaves_no_core(served: Served) -> None:
    for pid in served.children("matcher"):
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)


def test_a_matcher_that_is_killed_means_503_and_is_replaced(served: Served) -> None:
    listed = {"pdq": digest(20).hex(), "quality": 100}
    free = {"pdq": "0" * 64, "quality": 100}
    assert served.digests("trusted", listed) == (200, {"verdicts": ["hold"]})
    assert len(killed := served.kill_matchers()) == 1
    statuses = set()
    while (answer := served.digests("trusted", listed, free))[0] != 200:
        statuses.add(answer[0])
        assert "verdicts" not in answer[1]
    assert statuses <= {503}
    assert answer[1] == {"verdicts": ["hold", "ok"]}
    assert served.children("matcher") != killed
    edge = {"pdq": turned(digest(20), *range(50)).hex(), "quality": 100}
    assert served.digests("trusted", edge) == (200, {"verdicts": ["hold"]})  # what was found before is not forgotten


def test_new_versions_take_over_when_they_are_loaded_and_no_request_fails_meanwhile(served: Served, site: Site) -> None:
    new = {"sha256": digest(900, Kind.SHA256).hex()}
    assert served.digests("trusted", new) == (200, {"verdicts": ["ok"]})
    (before,) = served.children("matcher")
    added = [*entries(50), Entry(Kind.SHA256, digest(900, Kind.SHA256), "new", "A1")]
    site.lists().import_entries("demo", added, Provenance(source="test"))
    served.process.send_signal(signal.SIGHUP)
    answers = []

    def taken_over() -> bool:
        answers.append(served.digests("trusted", new, {"sha256": "0" * 64}))
        return answers[-1] == (200, {"verdicts": ["hold", "ok"]})

    until(taken_over, "the new version is in use")
    assert {status for status, _ in answers} == {200}
    until(lambda: before not in served.children("matcher"), "the old matcher has ended")
    edge = {"pdq": turned(digest(20), *range(50)).hex(), "quality": 100}
    assert served.digests("trusted", edge)[0] == 200


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_in_use(served: Served, site: Site) -> None:
    (current,) = (site.path.parent / "lists" / "pictures").glob("*.list")
    held = current.read_bytes()
    site.lists().import_entries("pictures", entries(3), Provenance(source="test"))
    (broken,) = [path for path in current.parent.glob("*.list") if path != current]
    whole = broken.read_bytes()
    broken.write_bytes(held)
    served.process.send_signal(signal.SIGHUP)
    until(lambda: "those before stay in use" in served.told.read_text(), "the refusal is told")
    assert verdict(served, picture(1)) == ("hold", "")
    broken.write_bytes(whole)


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_a_matcher_killed_at_any_point_of_its_loading_answers_nothing(tmp_path: Path, kills: int) -> None:
    site = served_site(tmp_path / "site", "reload_s = 1", "requests_per_minute = 1_000_000", count=4000)
    listed = {"sha256": digest(3999, Kind.SHA256).hex()}
    rng = np.random.default_rng(kills)
    with running(site, wait=False) as served:
        for _ in range(kills):
            until(lambda: bool(served.children("matcher")), "a matcher is started")
            for _ in range(rng.integers(1, 60)):
                status, said = served.digests("trusted", listed)
                assert (status, said) == (200, {"verdicts": ["hold"]}) or (status, "verdicts" in said) == (503, False)
            served.kill_matchers()
            until(lambda: not served.up(), "it is gone")
        until(served.up, "the lists are loaded")
        assert served.digests("trusted", listed) == (200, {"verdicts": ["hold"]})


def test_a_lock_survives_the_service_and_the_operator_unlocks(tmp_path: Path) -> None:
    site = served_site(tmp_path / "site", limits="probes_per_hit = 2")
    free = {"pdq": "0" * 64, "quality": 100}
    around = [{"pdq": turned(digest(3), bit).hex(), "quality": 100} for bit in (1, 2)]
    with running(site) as served:
        assert served.digests("trusted", *around, free) == (200, {"verdicts": ["hold"] * 3})
    told = served.told.read_text()
    with running(site) as served:
        assert served.digests("trusted", free) == (200, {"verdicts": ["hold"]})
        argv = [sys.executable, "-m", "custodes.cli.main", "serve", "unlock", "trusted", "--config", str(site.path)]
        subprocess.run(argv, check=True, capture_output=True)
        assert served.digests("trusted", free) == (200, {"verdicts": ["ok"]})
    written = [path.read_bytes() for path in site.path.parent.rglob("*") if path.is_file()]
    everything = b"".join([*written, told.encode(), served.told.read_bytes()])
    values = [digest(3), turned(digest(3), 1), turned(digest(3), 2), digest(4, Kind.MD5)]
    assert [value for value in values if shown(everything, value)] == []
    for form in (digest(3), digest(3).hex().encode(), base64.b64encode(digest(3)), digest(3)[::-1]):
        assert shown(everything + form[5:], digest(3))  # the planted fault


def shown(told: bytes, value: bytes) -> bool:
    """Whether any 8 bytes of a value stand somewhere: as they are, backwards, in hexadecimal or base64."""
    forms = [value, value[::-1], value.hex().encode(), base64.b64encode(value)]
    size = {0: 8, 1: 8, 2: 16, 3: 12}
    return any(
        form[first : first + size[n]] in told
        for n, form in enumerate(forms)
        for first in range(len(form) - size[n] + 1)
    )


def test_answers_name_no_list_no_entry_and_no_category(served: Served) -> None:
    hit = f"signal={digest(30).hex()}&signal_type=pdq"
    answers = [
        served.ask("GET", f"/m/lookup?{hit}", key="trusted"),
        served.ask("GET", f"/m/raw_lookup?{hit}&include_distance=1", key="trusted"),
        served.ask("GET", "/m/index/status", key="trusted"),
        served.ask("POST", "/v1/images", picture(1), "images"),
    ]
    said = b"".join(answer.said + str(answer.headers).encode() for answer in answers)  # type: ignore[attr-defined]
    assert b"hold" in said
    assert b"CUSTODES" in said
    for word in (b"demo", b"pictures", b"e30", b"A1", b"csam", b"exact", b"near"):
        assert word not in said


def test_two_services_of_one_configuration_do_not_run_at_once(served: Served, site: Site) -> None:
    argv = [sys.executable, "-m", "custodes.cli.main", "serve", "match", "--config", str(site.path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, "is running already" in done.stderr) == (2, True)


def test_when_the_service_is_killed_all_of_it_ends(tmp_path: Path) -> None:
    with running(served_site(tmp_path / "site", count=1)) as served:
        processes = [*served.children("front"), *served.children("matcher")]
        assert len(processes) == 2
        served.process.kill()
        served.process.wait(20)
    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in processes), "all have ended")


def test_when_the_front_dies_the_service_ends_and_says_so(tmp_path: Path) -> None:
    with running(served_site(tmp_path / "site", count=1)) as served:
        os.kill(served.children("front")[0], signal.SIGKILL)
        assert served.process.wait(20) == 3
        assert "the front of the match service has ended" in served.told.read_text()


def certificate(home: Path) -> None:
    """A key and a certificate of its own, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (home / "k.pem").write_bytes(pem)
    (home / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))


def test_tls_is_spoken_where_it_is_configured(tmp_path: Path) -> None:
    site = served_site(tmp_path / "site", 'tls_certificate = "c.pem"\ntls_key = "k.pem"', count=1)
    certificate(site.path.parent)
    with running(site, wait=False) as served:
        context = ssl.create_default_context(cafile=str(site.path.parent / "c.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", served.port, timeout=20, context=context)
        connection.request("GET", "/status/live")
        assert connection.getresponse().read() == b"I-AM-ALIVE"
        connection.close()
