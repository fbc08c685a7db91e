"""Whoever dies in a scan, the run ends with right counts: decoders, carriers, workers; and without a jail it does not begin."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from shelf import Office, Shelf, children, office, run, standing
from tests.world import Server, World, custodes, write_links

from custodes.demo.gallery import Gallery
from custodes.model import Reason

LOOPBACK = "--unsafe-allow-loopback"
PLANTED = Path(__file__).parent / "planted"


@pytest.fixture(scope="module")
def gallery(server: Server) -> Gallery:
    return server.gallery


@pytest.fixture(scope="module")
def shelf(gallery: Gallery) -> Iterator[Shelf]:
    pictures = {name: picture.data for name, picture in gallery.pictures.items()}
    with standing(pictures) as made:
        yield made


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, gallery: Gallery) -> Office:
    made = office(tmp_path_factory.mktemp("desk") / "site")
    made.know(gallery, exact=[gallery.reserved[0]])
    return made


def planted(name: str) -> dict[str, str]:
    return {"PYTHONPATH": str(PLANTED / name)}


def kill_one(pid: int, rng: random.Random, carriers_left: int) -> str:
    """Kill a carrier at work, or a decoder of one. Decoders are what stands below it, less the one that starts them."""
    carriers = [child for child, line in children(pid) if "custodes.carrier.process" in line]
    at_work = {carrier: below for carrier in carriers if len(below := [child for child, _ in children(carrier)]) >= 2}
    if not at_work:
        return ""
    decoders = [child for below in at_work.values() for child in below if not list(children(child))]
    kind, found = ("carrier", list(at_work)) if carriers_left and rng.random() < 0.5 else ("decoder", decoders)
    try:
        os.kill(rng.choice(found), signal.SIGKILL)
    except ProcessLookupError:
        return ""
    return kind


def test_decoders_and_carriers_may_be_killed(world: World, tmp_path: Path) -> None:
    rng, path = random.Random(7), tmp_path / "run"
    fixed = ["--config", world.config, LOOPBACK, "--workers", "2", "--quiet", "--json"]
    argv = [sys.executable, "-m", "custodes.cli.main", "scan", str(world.demo.links), "--run", str(path), *fixed]
    killed: list[str] = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and len(killed) < 12:
            time.sleep(rng.uniform(0.1, 0.4))
            killed += [kind] if (kind := kill_one(process.pid, rng, 4 - killed.count("carrier"))) else []
        out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert len(killed) >= 4
    answer = json.loads(out.splitlines()[-1])
    assert sum(answer["outcomes"].values()) == answer["rows"] == 400
    reasons = world.outcomes(path)
    wrong = [
        (truth.row, truth.way, reason)
        for truth, reason in zip(world.demo.truth, reasons, strict=True)
        if Reason(reason) not in truth.reasons and reason != Reason.DECODER_DIED
    ]
    assert wrong == []
    # A killed decoder or zygote costs the image that it had, and no other.
    assert reasons.count(Reason.DECODER_DIED) <= killed.count("decoder")
    died = {row for row, reason in enumerate(reasons) if reason == Reason.DECODER_DIED}
    found = {finding.row for finding in world.findings(path)}
    assert found <= world.demo.findings
    assert world.demo.findings - found <= died


def test_the_carrier_of_an_archive_may_be_killed(
    desk: Office, gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [*gallery.ordinary[:120], gallery.reserved[0]]
    (tmp_path / "pictures").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "pictures" / f"{number:04}{Path(name).suffix}").write_bytes(gallery.pictures[name].data)
    with tarfile.open(tmp_path / "pictures.tar", "w") as archive:
        archive.add(tmp_path / "pictures", "p")
    path = tmp_path / "run"
    argv = [sys.executable, "-m", "custodes.cli.main", "scan", str(tmp_path / "pictures.tar"), "--run", str(path)]
    argv += [*desk.config, "--workers", "1", "--quiet", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        killed = False
        while process.poll() is None and not killed:
            workers = [child for child, line in children(process.pid) if "custodes.cli.worker" in line]
            carriers = [c for w in workers for c, line in children(w) if "custodes.carrier.process" in line]
            if carriers and len(list(children(carriers[0]))) >= 2:  # the zygote and a decoder: it is at work
                os.kill(carriers[0], signal.SIGKILL)
                killed = True
        out, err = process.communicate(timeout=120)
    assert killed
    assert process.returncode == 1, err
    assert json.loads(out.splitlines()[-1])["outcomes"]["examined"] == 121
    assert [finding.row for finding in desk.findings(path)] == [120]


def test_a_poisoned_link_takes_no_neighbour_with_it(
    desk: Office, shelf: Shelf, gallery: Gallery, tmp_path: Path
) -> None:
    urls: list[str | None] = [shelf.url(name) for name in gallery.ordinary[:40]]
    urls[17] = shelf.url("poison")
    source = tmp_path / "folder"
    source.mkdir()
    for part in range(4):  # shards that share a carrier
        write_links(source / f"{part}.parquet", urls[part * 10 : part * 10 + 10])
    path = tmp_path / "run"
    fixed = [*desk.config, LOOPBACK, "--workers", "1", "--quiet", "--json"]
    done = custodes("scan", source, "--run", path, *fixed, env=planted("poisoned_links"))
    assert done.returncode == 0, done.stderr
    reasons = desk.reasons(path)
    assert reasons[17] == Reason.CARRIER_DIED
    assert reasons[:17] + reasons[18:] == ["full"] * 39
    # It is a failure of ours, and can be tried again where it kills no more.
    again = desk.scan(source, path, LOOPBACK, "--retry", "failed:carrier_died")
    assert desk.reasons(path)[17] == "http_404", again.err


def test_a_shard_that_ends_its_workers_is_given_up_aloud(
    desk: Office, shelf: Shelf, gallery: Gallery, tmp_path: Path
) -> None:
    source = tmp_path / "folder"
    source.mkdir()
    for part in range(4):
        write_links(source / f"{part}.parquet", [shelf.url(name) for name in gallery.ordinary[part * 3 : part * 3 + 3]])
    path = tmp_path / "run"
    fixed = [*desk.config, LOOPBACK, "--workers", "2", "--quiet", "--json"]
    done = custodes("scan", source, "--run", path, *fixed, env=planted("deadly_shard"))
    assert done.returncode == 3
    assert "shard 1 ended 3 workers" in done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["complete"], answer["shards"], answer["rows"]) == (False, 3, 9)
    assert run("rematch", path, *desk.config).code == 2
    healed = desk.scan(source, path, LOOPBACK)
    assert (healed.code, healed.answer["complete"], healed.answer["rows"]) == (0, True, 12)


def test_an_interrupt_stops_a_scan_with_a_word_and_the_next_one_ends_it(
    shelf: Shelf, gallery: Gallery, tmp_path: Path
) -> None:
    patient = office(tmp_path / "site", "[fetch]\ntotal_timeout_s = 200.0\nslow_for_s = 200\n")
    patient.know(gallery, exact=[gallery.reserved[0]])
    path = tmp_path / "run"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(100)
        urls = [shelf.url(gallery.reserved[0]), f"http://127.0.0.1:{silent.getsockname()[1]}/waits"]
        source = write_links(tmp_path / "links.parquet", urls)
        fixed = [source, "--run", path, *patient.config, LOOPBACK, "--workers", "2", "--quiet"]
        argv = [sys.executable, "-m", "custodes.cli.main", "scan", *map(str, fixed)]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            asked = silent.accept()[0]  # all of the scan is at work, and waits for this answer
            second = run("scan", *fixed)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            err = process.communicate(timeout=60)[1]
        asked.close()
    assert (second.code, "is in use by another custodes process" in second.err) == (2, True)
    assert (process.returncode, err.strip()) == (
        130,
        "custodes: stopped; a scan that is started again goes on where it stopped",
    )
    assert run("scan", *fixed).code == 1
    assert (patient.reasons(path), [found.row for found in patient.findings(path)]) == (["full", "refused"], [0])


# -- the jail


def test_without_a_jail_nothing_begins(desk: Office, shelf: Shelf, gallery: Gallery, tmp_path: Path) -> None:
    asked = len(shelf.asked)
    source = write_links(tmp_path / "links.parquet", [shelf.url(gallery.reserved[0])])
    path = tmp_path / "run"
    refused = custodes(
        "scan", source, "--run", path, *desk.config, LOOPBACK, "--quiet", "--json", env=planted("no_landlock")
    )
    assert refused.returncode == 3
    assert refused.stdout == ""
    assert "Landlock" in refused.stderr
    assert "hint: " in refused.stderr
    assert "--unsafe-no-jail" in refused.stderr
    assert not path.exists()
    assert len(shelf.asked) == asked
    picture = tmp_path / "a.png"
    picture.write_bytes(gallery.pictures[gallery.reserved[0]].data)
    for command in (["hash", picture], ["check", picture, *desk.config]):
        assert custodes(*command, env=planted("no_landlock")).returncode == 3

    digests = write_links(tmp_path / "digests.parquet", [None], md5=["d41d8cd98f00b204e9800998ecf8427e"])
    fixed = [*desk.config, "--pass", "columns", "--quiet"]
    columns = custodes("scan", digests, "--run", tmp_path / "columns", *fixed, env=planted("no_landlock"))
    assert columns.returncode == 0, "no image is decoded, so no jail is needed"


def test_a_scan_without_a_jail_says_so_everywhere(desk: Office, shelf: Shelf, gallery: Gallery, tmp_path: Path) -> None:
    source = write_links(tmp_path / "links.parquet", [shelf.url(gallery.reserved[0])])
    path = tmp_path / "run"
    fixed = [*desk.config, LOOPBACK, "--unsafe-no-jail", "--workers", "1", "--quiet"]
    done = custodes("scan", source, "--run", path, *fixed, env=planted("no_landlock"))
    assert done.returncode == 1, done.stderr
    assert "--unsafe-no-jail" in done.stdout
    assert "--unsafe-allow-loopback" in done.stdout
    assert run("report", path, *desk.config, "--json").answer["unsafe"] == [LOOPBACK, "--unsafe-no-jail"]
    assert "--unsafe-no-jail" in (path / "report.html").read_text()
    # With the jail again it is another run, and says so.
    jailed = desk.scan(source, path, LOOPBACK)
    assert jailed.code == 2
    assert "unsafe" in jailed.err
