"""``custodes similar teach``, whole: a run, what a scripted authority says of it, vectors; and the loop as verdicts come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.crypto.keys import SigningKey
from custodes.errors import ConfigError, CustodesError, InputError, SourceError
from custodes.handover.verdicts import Ruling
from custodes.scan.shard import finding_namer
from custodes.similar.probe import held_out
from custodes.similar.versions import Versions
from tests.similar.looping import CONFIRMED, FILES, KEY, LISTED, REJECTED, ROWS, Loop, first_words, looped
from tests.similar.teaching import photos


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return looped(tmp_path)


def test_a_probe_is_taught_from_verdicts_and_matches(loop: Loop) -> None:
    said: dict[str, Any] = json.loads(loop.teach("--verdicts", loop.verdicts(first_words()), "--json"))
    assert said["in_service"] is True
    assert said["compared"] is None
    assert said["rows"] == {"exact": len(LISTED), "verdicts": 100, "without_vector": 0}
    assert 30 <= said["positives"] < 50  # of 50; one in five is held out
    assert 40 <= said["negatives"] < 60
    assert said["background"] == FILES * ROWS - 110
    probe = Versions(loop.home / "probes").load(said["version"])
    assert np.median(probe.score(photos(50, 3, 9))) > 0.5 > np.median(probe.score(photos(50, 0, 10)))
    assert probe.card.taught_from["run"] == loop.past.run.manifest.run_id
    assert probe.card.taught_from["class"] == "csam"


def test_imported_verdicts_are_learnt_from_and_the_same_again_is_nothing_new(loop: Loop) -> None:
    loop.run("verdicts", "import", loop.verdicts(first_words()))
    first = loop.teach()
    assert "in service: it is the first" in first
    assert "100 verdicts are on rows of this run, 10 rows match exactly" in first
    assert "nothing new was learnt" in loop.teach()


def test_a_worse_probe_is_kept_and_not_put_into_service_by_itself(loop: Loop) -> None:
    good = json.loads(loop.teach("--verdicts", loop.verdicts(first_words()), "--json"))["version"]
    vectors = np.concatenate([np.load(path) for path in sorted((loop.home / "vectors").iterdir())])
    apart = held_out(vectors.astype(np.float32))
    # A mistaken file: of those that are not held out, four in nine are called the other thing.
    wrong = {row: Ruling.CONFIRMED for row in REJECTED if not apart[row] and row % 9 < 4}
    wrong |= {row: Ruling.NOT for row in CONFIRMED if not apart[row] and row % 9 < 4}
    mistaken = loop.verdicts(first_words() | wrong, "later.json", day=2)
    output = loop.teach("--verdicts", mistaken)
    assert f"NOT in service, {good} stays: average precision 0." in output
    kept = Versions(loop.home / "probes")
    assert kept.in_service() == good
    assert f"in service in place of {good}" in loop.teach("--verdicts", mistaken, "--anyway")
    assert kept.in_service() != good


def test_nothing_that_is_written_names_a_row_or_a_finding(loop: Loop) -> None:
    path = loop.verdicts(first_words())
    output = loop.teach("--verdicts", path)
    named = finding_namer(loop.past.run.manifest, loop.past.site.run_key())
    findings = [named(row // ROWS, row % ROWS) for row in first_words()]
    written = [output.encode(), *(each.read_bytes() for each in (loop.home / "probes").rglob("*") if each.is_file())]
    assert len(written) == 5
    assert not any(finding.encode() in data for finding in findings for data in written)


def test_too_few_verdicts_say_how_many_more(loop: Loop) -> None:
    with pytest.raises(InputError, match="too little to learn from") as raised:
        loop.teach("--verdicts", loop.verdicts({50: Ruling.NOT}))
    assert "more confirmed" in (raised.value.hint or "")
    assert "more rejected" in (raised.value.hint or "")
    assert not (loop.home / "probes").exists()


def test_verdicts_that_the_authority_did_not_sign_teach_nothing(loop: Loop) -> None:
    forger = SigningKey("authority.example", Ed25519PrivateKey.from_private_bytes(bytes([2] * 32)))
    with pytest.raises(InputError, match="no trusted key"):
        loop.teach("--verdicts", loop.verdicts(first_words(), key=forger))
    assert not (loop.home / "probes").exists()


def test_vectors_of_another_dataset_are_refused(loop: Loop) -> None:
    path = loop.home / "vectors" / "001.npy"
    np.save(path, np.load(path)[:-1])
    with pytest.raises(SourceError, match=r"119 vectors, and stands where .* has 120 rows"):
        loop.teach("--verdicts", loop.verdicts(first_words()))
    path.unlink()
    with pytest.raises(SourceError, match="2 files of vectors"):
        loop.teach("--verdicts", loop.verdicts(first_words()))


def test_without_verdicts_or_without_a_key_nothing_is_taught(loop: Loop) -> None:
    with pytest.raises(InputError, match="too little"):
        loop.teach()
    with pytest.raises(CustodesError, match="cannot be read"):
        loop.teach("--verdicts", loop.home / "absent.json")
    text = loop.past.site.path.read_text()
    loop.past.site.path.write_text(text.replace(str(KEY.verifier), "").replace('[""]', "[]"))
    with pytest.raises(ConfigError, match="names no key"):
        loop.teach()
