"""custodes check --remote: a third party is told only of what the lists do not know, and no answer of its is never "no known match"."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from tests.authorities.service import Fault
from tests.authorities.shield_server import PASSWORD, USER, ShieldServer
from tests.authorities.simulator import SECRET
from tests.cli.test_transcripts import digests, draw

from custodes.carrier.protocol import Carried
from custodes.cli import check as command
from custodes.cli import remote
from custodes.cli.main import main
from custodes.config import create_site
from custodes.decoder.hashing import examine_content
from custodes.decoding import DecodePolicy, ImageLimits
from custodes.lists.container import Provenance
from custodes.lists.formats import read_entries
from custodes.model import Reason


@dataclass
class Scene:
    """A site, pictures, and a stand-in for the detector."""

    home: Path
    server: ShieldServer

    def configure(self, **settings: str | bool) -> None:
        """Write ``[shield]``."""
        chosen = {"enabled": True, "url": self.server.base, "unsafe_allow_loopback": True, **settings}
        lines = [f"{name} = {json.dumps(value)}" for name, value in chosen.items()]
        path = self.home / "site" / "custodes.toml"
        text = path.read_text().partition("\n[shield]")[0]
        path.write_text("\n".join([text, "[shield]", *lines, ""]))

    def check(self, *files: str, json_: bool = False) -> tuple[int, list[str], str]:
        """Exit code, lines and errors of a check with the remote detector."""
        out, err = io.StringIO(), io.StringIO()
        arguments = ["check", *files, "--config", "site", "--remote", "shield", *(["--json"] if json_ else [])]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main(arguments)
        assert SECRET not in out.getvalue() + err.getvalue()
        assert self.server.undocumented == []
        assert self.server.submitted == 0
        return int(ended.value.code or 0), out.getvalue().splitlines(), err.getvalue()


@contextlib.contextmanager
def running(server: ShieldServer) -> Iterator[None]:
    """The server in a thread of its own, as the command has a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        yield
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """tiles.png is on a list, waves.png is not, grey.png says nothing, page.jpg is none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUSTODES_SHIELD_USERNAME", USER)
    monkeypatch.setenv("CUSTODES_SHIELD_PASSWORD", PASSWORD)
    draw()
    Image.new("L", (200, 200), 128).save("grey.png")
    Path("page.jpg").write_text("<html>moved</html>")
    digests("tiles.png", "list.csv")
    site = create_site(tmp_path / "site", [], demo=True)
    site.lists().import_entries("demo", read_entries(Path("list.csv")), Provenance(source="list.csv", scheme="demo"))
    server = ShieldServer()
    with running(server):
        found = Scene(tmp_path, server)
        found.configure()
        yield found


def code_of(file: str) -> bytes:
    """The PDQ code, computed apart from the command."""
    return examine_content(Path(file).read_bytes(), ImageLimits(), DecodePolicy.EXACT).pdq[0].code


def test_only_what_the_lists_do_not_know_is_looked_up(scene: Scene) -> None:
    code, lines, _ = scene.check("waves.png", "tiles.png", "page.jpg", "absent.png")
    assert lines == [
        "waves.png: no known match; arachnid-shield (not production): no-known-match",
        "tiles.png: match (demo; exact-confirmed)",
        "page.jpg: not examined (unavailable: not_image), nor by arachnid-shield (not production): no PDQ code of enough quality",
        "absent.png: not examined (failed: read_error), nor by arachnid-shield (not production): no PDQ code of enough quality",
    ]
    assert code == 1
    assert scene.server.asked_codes() == [code_of("waves.png")]
    assert [seen.path for seen in scene.server.requests] == ["/v1/pdq/"]


def test_planted_fault_without_the_local_match_first_the_third_party_learns_of_a_listed_file(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "ask", lambda detector, files, decisions: detector.ask(files))
    scene.check("waves.png", "tiles.png")
    assert code_of("tiles.png") in scene.server.asked_codes()


@pytest.mark.parametrize(
    ("classification", "line"),
    [
        ("csam", "match (arachnid-shield; near-confirmed); arachnid-shield (not production): csam"),
        (
            "harmful-abusive-material",
            "hold (arachnid-shield; near-exploitative); arachnid-shield (not production): harmful-abusive-material",
        ),
        ("test", "hold (arachnid-shield; near-unmapped); arachnid-shield (not production): test"),
        ("new\x1b[2J", "hold (arachnid-shield; near-unmapped); arachnid-shield (not production): unreadable"),
        (None, "hold (arachnid-shield; near-unmapped); arachnid-shield (not production): unknown"),
    ],
)
def test_what_the_detector_says_decides(classification: str | None, line: str, scene: Scene) -> None:
    scene.server.know(code_of("waves.png"), classification)
    assert scene.check("waves.png") == (1, [f"waves.png: {line}"], "")


def test_a_code_without_an_answer_is_held(scene: Scene) -> None:
    scene.server.left_out = {code_of("waves.png")}
    code, (line,), _ = scene.check("waves.png", json_=True)
    assert (code, json.loads(line)) == (
        1,
        {
            "file": "waves.png",
            "verdict": "hold",
            "outcome": "examined",
            "reason": "full",
            "lists": ["arachnid-shield"],
            "kinds": ["pdq"],
            "rule": "near-unmapped",
            "remote": {
                "detector": "arachnid-shield",
                "production": False,
                "examined": True,
                "classification": "unknown",
            },
        },
    )


@pytest.mark.parametrize("fault", [Fault(), Fault(503), Fault(401), Fault(200, body=b"{}")], ids=str)
def test_a_service_that_is_down_is_said_and_is_never_no_known_match(fault: Fault, scene: Scene) -> None:
    scene.server.faults = {1: fault, 2: fault}
    code, lines, err = scene.check("waves.png")
    assert (code, lines) == (3, ["waves.png: not examined by arachnid-shield (not production): no answer"])
    assert err.startswith("custodes: Arachnid Shield")
    code, lines, err = scene.check("waves.png", "tiles.png")
    assert code == 1, "what the lists found is found, whoever else is down"
    assert err.startswith("custodes: Arachnid Shield")


def test_a_picture_that_has_no_good_code_is_not_examined_there(scene: Scene) -> None:
    code, lines, _ = scene.check("grey.png")
    assert (code, lines) == (
        5,
        ["grey.png: not examined by arachnid-shield (not production): no PDQ code of enough quality"],
    )
    assert scene.server.requests == []


def test_images_themselves_go_out_only_where_the_configuration_says_so(scene: Scene) -> None:
    scene.configure(media=True)
    scene.server.contents[Path("waves.png").read_bytes()] = {"classification": "csam", "match_type": "exact"}
    _, lines, _ = scene.check("waves.png", "tiles.png", "page.jpg", "grey.png")
    assert lines == [
        "waves.png: match (arachnid-shield; exact-confirmed); arachnid-shield (not production): csam",
        "tiles.png: match (demo; exact-confirmed)",
        "page.jpg: not examined (unavailable: not_image), nor by arachnid-shield (not production): no image",
        "grey.png: no known match; arachnid-shield (not production): no-known-match",
    ]
    bodies = {seen.body for seen in scene.server.requests}
    assert bodies == {Path("waves.png").read_bytes(), Path("grey.png").read_bytes()}
    assert {(seen.path, seen.headers["Content-Type"]) for seen in scene.server.requests} == {
        ("/v1/media/", "image/png")
    }


def test_a_service_that_falls_silent_is_not_asked_on_and_on(scene: Scene) -> None:
    scene.configure(media=True)
    scene.server.faults = {1: Fault(503)}
    code, lines, _ = scene.check("waves.png", "grey.png")
    assert code == 3
    assert [line.partition(": ")[2] for line in lines] == [
        "not examined by arachnid-shield (not production): no answer"
    ] * 2
    assert len(scene.server.requests) == 1


@pytest.mark.parametrize("change", ["longer", "another", "gone", "same"])
def test_a_file_that_changed_since_it_was_compared_is_not_sent(change: str, tmp_path: Path) -> None:
    from hashlib import sha256

    path = tmp_path / "picture.png"
    carried = Carried(batch=0, key=0, reason=Reason.FULL, size_bytes=3, sha256=sha256(b"one").digest())
    if change != "gone":
        path.write_bytes({"longer": b"one more", "another": b"two", "same": b"one"}[change])
    assert (remote._read(str(path), carried) is not None) == (change == "same")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"enabled": False}, "does not enable"),
        ({"credentials": "absent.toml"}, "No such file"),
        ({"url": "https://example.org", "unsafe_allow_loopback": False}, "not that of Arachnid Shield"),
        ({"unsafe_allow_loopback": False}, "must be https"),
        ({"url": "https://user@shield.projectarachnid.com"}, "without user or query"),
    ],
)
def test_a_detector_that_is_not_configured_right_is_said_before_anything_is_read(
    settings: dict[str, str | bool], why: str, scene: Scene
) -> None:
    scene.configure(**settings)
    code, lines, err = scene.check("waves.png")
    assert (code, lines) == (2, [])
    assert why in err
    assert scene.server.requests == []


def test_credentials_that_are_not_set_are_said_by_name(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUSTODES_SHIELD_PASSWORD")
    code, _, err = scene.check("waves.png")
    assert code == 2
    assert "CUSTODES_SHIELD_PASSWORD is not set" in err
