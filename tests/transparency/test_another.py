"""Another implementation, golang.org/x/mod/sumdb, reads our logs and proofs, and we read its. Needs Debian's golang-go and golang-golang-x-mod-dev."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from custodes.crypto.keys import VerifierKey
from custodes.errors import InputError
from custodes.transparency.merkle import Span
from custodes.transparency.notes import Trust, cosign, parse_note
from custodes.transparency.proof import Proof
from custodes.transparency.reading import Folder, audit, entries, inclusion, read_folder
from tests.transparency.worlds import LOG_KEY, NOON, ORIGIN, TRUST, WITNESS_KEYS, log_in, numbered

PACKAGES = Path("/usr/share/gocode")
SOURCE = Path(__file__).with_name("another") / "main.go"

pytestmark = pytest.mark.skipif(
    shutil.which("go") is None or not (PACKAGES / "src/golang.org/x/mod/sumdb/tlog").is_dir(),
    reason="there is no other implementation here: apt-get install golang-go golang-golang-x-mod-dev",
)


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("another")
    environment = os.environ | {
        "GOPATH": str(PACKAGES),
        "GO111MODULE": "off",
        "GOCACHE": str(home / "cache"),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    subprocess.run(["go", "build", "-o", home / "another", SOURCE], check=True, env=environment, timeout=300)
    return home / "another"


def reads(another: Path, *arguments: str | Path) -> str:
    done = subprocess.run([another, *arguments], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout if done.returncode == 0 else f"refused: {done.stderr}"


def published(folder: Path, steps: tuple[int, ...]) -> tuple[Path, Path]:
    """A log of ours, witnessed, with the proof of its first entry; and its checkpoint of the step before the last."""
    log = log_in(folder / "log")
    log.create()
    at = 0
    for size in steps:
        old = folder / "old"
        old.write_bytes(log.signed())
        log.append(numbered(at, size))
        at = size
    text = parse_note(log.signed()).text
    seen = log.publish("".join(str(cosign(text, key, NOON)) for key in WITNESS_KEYS).encode())
    proof = read_folder(Folder(folder / "log"), inclusion(0, seen.checkpoint.tree))
    (folder / "proof").write_bytes(bytes(Proof(0, tuple(proof), seen.note)))
    (folder / "entry").write_bytes(numbered(0, 1)[0])
    return folder / "log", old


@pytest.mark.parametrize("steps", [(1,), (2, 3), (256, 257), (300, 700), (65_536, 66_000)], ids=str)
def test_the_other_reads_ours(another: Path, tmp_path: Path, steps: tuple[int, ...]) -> None:
    log, old = published(tmp_path, steps)
    asked = ("verify", log, str(LOG_KEY.verifier), tmp_path / "entry", tmp_path / "proof", old)
    assert reads(another, *asked) == f"verified {steps[-1]} entries\n"
    (tmp_path / "entry").write_bytes(b"another entry")
    assert reads(another, *asked).startswith("refused")


def test_the_other_refuses_what_was_changed_in_ours(another: Path, tmp_path: Path) -> None:
    log, old = published(tmp_path, (300, 700))
    asked = ("verify", log, str(LOG_KEY.verifier), tmp_path / "entry", tmp_path / "proof", old)
    for path in (log / "tile/0/001", log / "tile/entries/002.p/188", log / "checkpoint", tmp_path / "proof"):
        data = path.read_bytes()
        path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
        assert reads(another, *asked).startswith("refused"), path.name
        path.write_bytes(data)
    assert reads(another, *asked).startswith("verified")


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 66_000])
def test_we_read_the_others(another: Path, tmp_path: Path, size: int) -> None:
    trust = Trust(ORIGIN, (VerifierKey.parse(reads(another, "write", tmp_path, ORIGIN, str(size))),))
    tree = trust.verify((tmp_path / "checkpoint").read_bytes()).checkpoint.tree
    folder = Folder(tmp_path)
    assert tree.size == size
    read_folder(folder, audit(tree))
    assert read_folder(folder, entries(Span(size - 1, size), tree)) == [b"entry %d" % (size - 1)]
    proof = Proof.parse((tmp_path / "entry.tlog-proof").read_bytes())
    assert proof.verify(b"entry 0", trust).checkpoint.tree == tree
    with pytest.raises(InputError):
        proof.verify(b"entry 1", trust)
    with pytest.raises(InputError):
        TRUST.verify((tmp_path / "checkpoint").read_bytes())  # signed by another key
