"""``custodes log`` as its users have it: a log, its witnesses as processes, a card with its proof, and what happens when a witness is away."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from custodes import logs as logs_module
from custodes.cli.main import cli
from custodes.crypto.keys import create_keys
from custodes.errors import AuthorityError, ConfigError, InputError
from custodes.handover.custody import Act, Deed
from custodes.logged import Evidence, audited, checks_of_log
from custodes.logs import proof_path, read_policy, witness_of
from custodes.office import Office
from custodes.transparency.entries import CustodyEntry, ListEntry, card_entry, read_entry
from custodes.transparency.log import Log
from custodes.transparency.memory import Memory
from custodes.transparency.merkle import Span
from custodes.transparency.notes import parse_note
from custodes.transparency.proof import Proof
from custodes.transparency.reading import Folder, entries, read_folder
from custodes.transparency.witness_web import Listen
from tests.serving.test_service import certificate
from tests.stored import Earlier, earlier
from tests.transparency.worlds import NOON
from tests.world import make_site

ORIGIN = "log.example/cards"


def run(*arguments: str | Path) -> dict[str, Any]:
    """A command's answer in JSON; errors are raised."""
    result = CliRunner().invoke(cli, [*map(str, arguments), "--json"], standalone_mode=False, catch_exceptions=False)
    answer: dict[str, Any] = json.loads(result.stdout) | {"code": result.return_value}
    return answer


def configured(home: Path, more: str) -> Path:
    path = home / "custodes.toml"
    text = path.read_text().partition("\n[log]")[0]
    path.write_text(f"{text}\n[log]\nunsafe_allow_loopback = true\n{more}")
    return path


@contextmanager
def witnessing(config: Path, *more: str) -> Iterator[str]:
    """A witness as a process, and its address."""
    argv = [sys.executable, "-m", "custodes.cli.main", "log", "witness", "--listen", "127.0.0.1:0", *more]
    process = subprocess.Popen([*argv, "--config", config, "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["listening"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class World:
    """A site with a finished run, and a witness."""

    def __init__(self, home: Path) -> None:
        self.past: Earlier = earlier(home / "site", 1, 20)
        self.log, self.memory, self.policy = home / "log", home / "memory", self.past.site.home / "log.policy"
        self.log_line = run("log", "key", "--origin", ORIGIN, *self.past.config)["log"]
        witness = make_site(home / "witness")
        (witness.home / "logs").write_text(f"log {self.log_line}\nquorum none\n")
        self.witness = configured(witness.home, '[log.witness]\nname = "witness.example/1"\nlogs = "logs"\n')
        self.witness_line = run("log", "key", "--config", self.witness)["witness"]
        self.card = home / "out" / "card.dsse.json"
        self.card.parent.mkdir()
        run("attest", self.past.run.path, "--out", self.card, *self.past.config)

    def trusts(self, address: str) -> None:
        text = f"log {self.log_line}\nwitness w {self.witness_line} {address}\nquorum w\n"
        self.policy.write_text(text)
        configured(self.past.site.home, 'policy = "log.policy"\nwitness_timeout_s = 5.0\n')

    def does(self, *arguments: str | Path) -> dict[str, Any]:
        return run("log", *arguments, *self.past.config)

    def rows(self) -> list[Any]:
        tree = read_policy(self.policy).trust(ORIGIN).verify((self.log / "checkpoint").read_bytes()).checkpoint.tree
        return [read_entry(row) for row in read_folder(Folder(self.log), entries(Span(0, tree.size), tree))]

    def passes(self, proof: bytes | None = None, source: str = "") -> bool:
        policy = read_policy(self.policy)
        return checks_of_log(self.card.read_bytes(), Evidence(source, proof), policy, Memory(self.memory)).passed


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_log_with_a_witness_from_its_beginning_to_a_proof_and_back_after_the_witness_was_away(world: World) -> None:
    with witnessing(world.witness) as address:
        world.trusts(address)
        assert world.does("create", world.log, "--origin", ORIGIN)["entries"] == 0
        with pytest.raises(InputError, match="no line yet"):
            world.does("append", world.log, "--custody")
        head = Office(world.past.site).custody.append(Deed(act=Act.ROTATED, who="custodes"))[-1]
        told = world.does("append", world.log, "--card", world.card, "--custody", "--lists")
        assert (told["numbers"], told["witnesses"], told["entries"]) == ([0, 1, 2], ["witness.example/1"], 3)
        card, custody, listed = world.rows()
        assert card == card_entry(world.card.read_bytes())
        assert custody == CustodyEntry(seq=1, hash=head.hash)
        assert isinstance(listed, ListEntry)
        assert listed.id == "other"
        again = world.does("append", world.log, "--card", world.card, "--lists")
        assert (again["numbers"], again["entries"]) == ([0, 2], 3)  # nothing twice
    proof = proof_path(world.card)
    assert proof.name == "card.tlog-proof"
    assert world.passes(proof.read_bytes())
    assert world.passes(source=str(world.log))
    checked = run("log", "check", world.log, "--policy", world.policy, "--memory", world.memory)
    assert (checked["passed"], checked["code"]) == (True, 0)
    second = world.card.with_name("rotated.key.dsse.json")
    second.write_bytes(b"a statement about a key")
    published = (world.log / "checkpoint").read_bytes()
    with pytest.raises(AuthorityError, match="not published") as caught:
        world.does("append", world.log, "--statement", second)
    assert "log publish" in str(caught.value.hint)
    assert (world.log / "checkpoint").read_bytes() == published
    with witnessing(world.witness) as address:
        world.trusts(address)
        assert world.does("publish", world.log)["entries"] == 4
        assert world.does("append", world.log, "--statement", second)["numbers"] == [3]
        assert Proof.parse(proof.read_bytes()).index == 0
        assert world.passes(proof.read_bytes(), str(world.log))


class KilledError(BaseException):
    """The process died here."""


def alone(world: World) -> None:
    """The log without a witness."""
    world.policy.write_text(f"log {world.log_line}\nquorum none\n")
    configured(world.past.site.home, 'policy = "log.policy"\n')
    world.does("create", world.log, "--origin", ORIGIN)


def test_a_card_whose_proof_a_crash_took_gets_it_when_the_same_is_done_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone(world)

    def dies(*_: object) -> None:
        raise KilledError

    for place in ("_help", "publish", "proof"):
        with monkeypatch.context() as patched:
            patched.setattr(logs_module.SiteLog, place, dies)
            with pytest.raises(KilledError):
                world.does("append", world.log, "--card", world.card)
        assert not proof_path(world.card).exists()
    world.does("append", world.log, "--card", world.card)
    assert world.passes(proof_path(world.card).read_bytes())
    assert len(world.rows()) == 1


def test_what_is_not_put_into_a_log(world: World, tmp_path: Path) -> None:
    alone(world)
    size = len((world.log / "checkpoint").read_bytes())
    stranger = earlier(tmp_path / "stranger", 1, 5)
    other = tmp_path / "other.dsse.json"
    run("attest", stranger.run.path, "--out", other, *stranger.config)
    changed = tmp_path / "changed.dsse.json"
    changed.write_bytes(world.card.read_bytes() + b"\n")
    for arguments in (["--card", other], ["--card", changed], ["--card", tmp_path / "none"], []):
        with pytest.raises(InputError):
            world.does("append", world.log, *arguments)
    assert len((world.log / "checkpoint").read_bytes()) == size
    with pytest.raises(ConfigError, match="already"):
        world.does("create", world.log, "--origin", ORIGIN)
    with pytest.raises(ConfigError, match="holds no log"):
        world.does("append", tmp_path / "nothing", "--lists")


def test_a_damaged_log_is_told_check_by_check_with_exit_code_2(world: World, tmp_path: Path) -> None:
    alone(world)
    world.does("append", world.log, "--card", world.card)
    (world.log / "tile/entries/000.p/1").write_bytes(b"\0\1x")
    told = run("log", "check", world.log, "--policy", world.policy, "--memory", tmp_path / "m")
    assert (told["passed"], told["code"], told["checks"][-1]["state"]) == (False, 2, "failed")
    shown = CliRunner().invoke(
        cli,
        ["log", "check", str(world.log), "--policy", str(world.policy), "--memory", str(tmp_path / "m")],
        standalone_mode=False,
    )
    assert "FAILED  files" in shown.stdout


def test_a_log_that_was_put_back_is_told(world: World, tmp_path: Path) -> None:
    alone(world)
    before = (world.log / "checkpoint").read_bytes()
    world.does("append", world.log, "--card", world.card)
    policy, memory = read_policy(world.policy), Memory(tmp_path / "m")
    assert audited(Evidence(str(world.log)), policy, memory).passed
    (world.log / "checkpoint").write_bytes(before)
    found = audited(Evidence(str(world.log)), policy, memory)
    assert "went back" in found.checks[-1].means


def test_the_key_of_a_log_is_the_sites_under_the_logs_name(world: World) -> None:
    alone(world)
    assert (world.log / "verify.html").read_bytes().startswith(b"<!doctype html>")
    note = parse_note((world.log / "checkpoint").read_bytes())
    assert [line.name for line in note.lines] == [ORIGIN]
    assert world.log_line.startswith(f"{ORIGIN}+")
    with pytest.raises(InputError):
        world.does("key")


def test_a_log_goes_on_under_a_new_key_that_its_policy_names_beside_the_old(world: World, tmp_path: Path) -> None:
    alone(world)
    world.does("append", world.log, "--card", world.card)
    before, keys = world.rows(), world.past.site.home / "keys"
    for path in create_keys(tmp_path / "new", "demo"):
        if path.name.startswith("signing"):
            path.replace(keys / path.name)
    with pytest.raises(ConfigError, match="do not trust the key"):
        world.does("append", world.log, "--lists")
    new = run("log", "key", "--origin", ORIGIN, *world.past.config)["log"]
    world.policy.write_text(f"log {world.log_line}\nlog {new}\nquorum none\n")
    world.does("append", world.log, "--lists")
    assert world.rows()[:1] == before
    assert len(world.rows()) == 2
    assert world.passes(proof_path(world.card).read_bytes(), str(world.log))


def test_a_policy_that_does_not_name_the_log_makes_none(world: World) -> None:
    world.policy.write_text("quorum none\n")
    configured(world.past.site.home, 'policy = "log.policy"\n')
    with pytest.raises(InputError, match="does not name"):
        world.does("create", world.log, "--origin", ORIGIN)
    assert not world.log.exists()


def test_planted_a_site_that_publishes_without_its_quorum_is_caught(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.trusts("http://127.0.0.1:9")
    with pytest.raises(AuthorityError):
        world.does("create", world.log, "--origin", ORIGIN)
    assert not (world.log / "checkpoint").exists()

    def careless(self: Log, lines: bytes = b"") -> Any:
        note = self.signed()
        (world.log / "checkpoint").write_bytes(note)
        return self._own.verify(note)

    monkeypatch.setattr(Log, "publish", careless)
    world.does("publish", world.log)
    assert not audited(Evidence(str(world.log)), read_policy(world.policy), Memory(world.memory)).passed


# The witness


def test_where_a_witness_listens() -> None:
    assert Listen.parse("127.0.0.1:8744") == Listen("127.0.0.1", 8744)
    assert Listen.parse("[::1]:0").loopback
    assert not Listen.parse("0.0.0.0:1").loopback
    for wrong in ("", "8744", "localhost:1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:\u0661"):
        with pytest.raises(ConfigError):
            Listen.parse(wrong)


def test_a_witness_beyond_loopback_has_tls(world: World) -> None:
    with pytest.raises(ConfigError, match="no TLS"):
        run("log", "witness", "--listen", "0.0.0.0:0", "--config", world.witness)
    configured(world.witness.parent, '[log.witness]\nname = "w"\nlogs = "logs"\ntls_certificate = "none.pem"\n')
    with pytest.raises(ConfigError, match="cannot be loaded"):
        run("log", "witness", "--config", world.witness)


def test_a_witness_speaks_tls(world: World) -> None:
    certificate(world.witness.parent)
    settings = 'tls_certificate = "c.pem"\ntls_key = "k.pem"\n'
    configured(world.witness.parent, f'[log.witness]\nname = "w"\nlogs = "logs"\n{settings}')
    with witnessing(world.witness) as address:
        host, port = address.removeprefix("https://").split(":")
        context = ssl.create_default_context(cafile=str(world.witness.parent / "c.pem"))
        context.check_hostname = False

        with socket.create_connection((host, int(port))) as raw, context.wrap_socket(raw) as safe:
            safe.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 1\r\n\r\nx")
            assert safe.recv(100).startswith(b"HTTP/1.1 400")


def test_a_site_that_names_no_log_is_no_witness(world: World) -> None:
    with pytest.raises(ConfigError, match="names no log"):
        witness_of(world.past.site, lambda: NOON)
    configured(world.witness.parent, '[log.witness]\nname = "w"\nlogs = "none"\n')
    with pytest.raises(ConfigError, match="cannot read the policy"):
        run("log", "witness", "--config", world.witness)


def test_a_site_does_not_witness_its_own_log(world: World) -> None:
    (world.past.site.home / "logs").write_text(f"log {world.log_line}\nquorum none\n")
    configured(world.past.site.home, '[log.witness]\nname = "w.example"\nlogs = "logs"\n')
    with pytest.raises(ConfigError, match="own key"):
        run("log", "witness", *world.past.config)
