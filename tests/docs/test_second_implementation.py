"""A second implementation, written from docs/formats alone: it reads a run without importing the code that wrote it.

It uses Python's own modules, an AES and an HKDF, a Parquet reader and an age library; nothing of custodes but the command that makes the run.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pyrage
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from custodes.cli.main import main

LISTED = hashlib.md5(b"listed", usedforsecurity=False).hexdigest()
COLUMNS = ("url", "md5", "sha1", "sha256", "key", "text", "width", "height", "status", "language", "image")
SHARD = ("index", "file", "first_row", "rows", "row_group", "group_row", "offset_bytes", "size_bytes", "stops_short")
OPTIONS = (
    *("format", "columns", "header", "shard_rows_max", "body_bytes_max", "row_bytes_max"),
    *("name_bytes_max", "members_max", "unpacked_bytes_max", "unpack_ratio_max"),
)


def hkdf(secret: bytes, info: bytes, size: int = 32, salt: bytes = b"") -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=salt, info=info).derive(secret)


def compact(value: object, *, sort: bool = False) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=sort, ensure_ascii=False).encode()


def open_vault(frames_key: bytes, data: bytes, context: bytes) -> bytes:
    """docs/formats/list-file.md, Vault."""
    assert data[:8] == b"custvlt1"
    derived = hkdf(frames_key, b"custodes/vault/1" + context, 64, data[8:24])
    assert hmac.compare_digest(derived[32:], data[24:56])
    frames = [data[at : at + 65552] for at in range(56, len(data), 65552)]
    nonces = [n.to_bytes(11, "big") + bytes([n == len(frames) - 1]) for n in range(len(frames))]
    return b"".join(
        AESGCM(derived[:32]).decrypt(nonce, frame, None) for nonce, frame in zip(nonces, frames, strict=True)
    )


def secret(path: Path, tag: str) -> bytes:
    """docs/formats/keys.md, Secret keys."""
    words = path.read_text(encoding="ascii").split(" ")
    assert words[0] == tag
    return base64.b64decode(words[1].strip(), validate=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("second")
    (home / "links.csv").write_text(f"url,md5\nhttps://a.example/1,{LISTED}\nhttps://a.example/2,{'0' * 32}\n")
    (home / "list.csv").write_text(f"kind,value,id,category\nmd5,{LISTED},E-1,A1\n")
    site, run = str(home / "site"), str(home / "run")
    commands = {
        0: [
            ["init", site, "--demo-authority"],
            ["lists", "import", str(home / "list.csv"), "--list", "l", "--scheme", "ncmec", "--config", site],
        ],
        1: [["scan", str(home / "links.csv"), "--run", run, "--pass", "columns", "--config", site, "--quiet"]],
    }
    for code, lines in commands.items():
        for line in lines:
            with pytest.raises(SystemExit) as ended:
                main(line)
            assert ended.value.code == code, line
    return home


@pytest.fixture(scope="module")
def manifest(home: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((home / "run" / "manifest.json").read_bytes())
    return document


def record_of(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(pq.read_metadata(path).metadata[b"custodes.shard"])
    return document


def shard_file(home: Path) -> Path:
    (path,) = (home / "run" / "shards" / "00000").iterdir()
    assert path.name == "00000000.g0.parquet"
    return path


def test_the_manifest_carries_its_own_fingerprint(manifest: dict[str, Any]) -> None:
    named = {
        name: manifest[name] for name in ("input", "lists", "parent", "passes", "recipients", "settings", "unsafe")
    }
    assert hashlib.sha256(compact(named, sort=True)).hexdigest() == manifest["fingerprint"]


def test_the_input_is_fingerprinted_as_described(home: Path, manifest: dict[str, Any]) -> None:
    data = (home / "links.csv").read_bytes()
    of_file = hashlib.sha256(b"%d\n" % len(data) + data[: 1 << 20] + data[-(1 << 20) :]).hexdigest()
    plan = manifest["plan"]
    assert plan["files"] == [{"path": str(home / "links.csv"), "size_bytes": len(data), "fingerprint": of_file}]
    shards = [{name: shard[name] for name in SHARD} for shard in plan["shards"]]
    columns = {name: plan["columns"][name] for name in COLUMNS}
    options = {name: plan["options"][name] for name in OPTIONS}
    parts = [plan["format"], [[len(data), of_file]], shards, columns, options]
    assert hashlib.sha256(compact(parts)).hexdigest() == manifest["input"]


def test_the_shard_file_names_its_findings_and_its_counts_add_up(home: Path) -> None:
    path = shard_file(home)
    record = record_of(path)
    outcomes = pq.read_table(path)["reason"].to_pylist()
    assert outcomes == ["columns_only", "columns_only"]
    assert record["rows"] == len(outcomes) == sum(record["reasons"].values())
    sealed = (home / "run" / "findings" / "00000" / record["findings_file"]).read_bytes()
    assert hashlib.sha256(sealed).hexdigest() == record["findings_sha256"]
    assert record["findings_file"] == f"00000000.g0-{record['findings_sha256'][:16]}.age"


def test_locked_counts_open_with_the_run_key_and_the_rest_of_the_record(home: Path) -> None:
    record = record_of(shard_file(home))
    locked = base64.b64decode(record["locked"])
    key = hkdf(secret(home / "site/keys/run.key", "custodes-run-key-1"), b"custodes/run/found")
    counts = json.loads(
        open_vault(hkdf(key, b"custodes/aead/frames"), locked, compact(record | {"locked": ""}, sort=True))
    )
    assert {name: counts[name] for name in ("rows", "by_list", "by_rule")} == {
        "rows": 1,
        "by_list": {"l": 1},
        "by_rule": {"exact-confirmed": 1},
    }


def test_the_bundle_opens_with_any_age_library_and_its_ids_are_as_described(
    home: Path, manifest: dict[str, Any]
) -> None:
    identity = (home / "site" / "demo-authority.key").read_text().splitlines()[-1]
    (path,) = (home / "run" / "findings" / "00000").iterdir()
    plain = pyrage.decrypt(path.read_bytes(), [pyrage.x25519.Identity.from_str(identity)])
    assert len(plain) == 4096
    header, finding = (json.loads(line) for line in plain.rstrip(b" ").splitlines())
    assert (header["format"], header["findings"], header["demo"]) == ("custodes-findings/1", 1, True)
    assert (finding["url"], finding["row"], finding["viewed_by_a_person"]) == ("https://a.example/1", 0, False)
    assert [(match["list"], match["entry"], match["kind"]) for match in finding["matches"]] == [("l", "E-1", "md5")]
    versions = sorted([used["id"], used["version"]] for used in manifest["lists"])
    named = compact([manifest["input"], 0, 0, versions])
    key = hkdf(secret(home / "site/keys/run.key", "custodes-run-key-1"), b"custodes/run/finding")
    mac = hmac.new(key, len(named).to_bytes(8, "little") + named, hashlib.sha256)
    assert finding["id"] == mac.hexdigest()[:32]


def test_the_list_file_opens_and_its_version_names_its_content(home: Path, manifest: dict[str, Any]) -> None:
    (used,) = manifest["lists"]
    data = (home / "site" / "lists" / "l" / f"{used['version']}.list").read_bytes()
    key = secret(home / "site/keys/lists.key", "custodes-lists-key-1")
    plain = open_vault(hkdf(key, b"custodes/lists/frames"), data, f"list/l/{used['version']}".encode())
    assert plain[:8] == b"custlst1"
    size = int.from_bytes(plain[8:16], "little")
    body = plain[16 + size + -size % 8 :]
    digest = hmac.new(hkdf(key, b"custodes/lists/list-version"), body, hashlib.sha256).hexdigest()[:12]
    assert used["version"] == f"1-{digest}"
    assert bytes.fromhex(LISTED) in body
