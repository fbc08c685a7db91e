"""The auditor's challenge: exactly the asked rows, as they were committed to; and examined again, with the web's changes neither lie nor agreement."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.cards import statement_of, write_card
from custodes.carrier.protocol import Carried
from custodes.cli.main import cli
from custodes.commitment import again
from custodes.commitment.again import Again, Compared, Dataset, compare
from custodes.commitment.proofs import (
    ASKED_MAX,
    Answer,
    Ask,
    CardRows,
    ask_of,
    card_rows,
    check_answer,
    encode,
    read_document,
)
from custodes.commitment.runs import CommittedRows, commit_rows, committed_rows
from custodes.crypto.keys import SigningKey
from custodes.digests import crypto_digests
from custodes.errors import InputError, StorageError
from custodes.handover.finding import FORMAT, BundleHeader, seal_bundle
from custodes.ledger.rows import RowsBuilder
from custodes.ledger.run import Found, RunDirectory, ShardCommit, shard_name
from custodes.model import Content, Reason
from custodes.scan.run import ScanPlan, manifest_of, plan_scan
from custodes.sources.base import SourceOptions
from tests.attest.committed import accepted, changes
from tests.stored import Earlier, earlier, md5_of
from tests.world import make_site, write_links

KEY = SigningKey("lab.example", Ed25519PrivateKey.from_private_bytes(bytes([4] * 32)))


@dataclass(frozen=True)
class World:
    """A finished run, what its card commits to, and a challenge with its answer."""

    past: Earlier
    rows: CommittedRows
    card: CardRows
    ask: Ask
    answer: Answer


def world_of(past: Earlier, asked: int | Sequence[int]) -> World:
    key = past.site.run_key()
    rows = committed_rows(past.run, key, commit_rows(past.run, key).root)
    card = card_rows(statement_of(past.run, key))
    ask = ask_of(card, asked if isinstance(asked, int) else len(asked))
    if not isinstance(asked, int):
        ask = msgspec.structs.replace(ask, asked=tuple(asked))
    return World(past, rows, card, ask, rows.answer(ask))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of(earlier(tmp_path_factory.mktemp("audit"), 3, 200), [3, 255, 256, 333, 599])


# -- challenge and answer


def test_an_answer_opens_exactly_what_was_asked(world: World) -> None:
    check_answer(world.card, world.ask, world.answer)
    assert [(each.row, each.reason, each.digest) for each in world.answer.openings] == [
        (row, Reason.FULL, md5_of(row).hex()) for row in world.ask.asked
    ]


def test_rows_are_drawn_by_lot_each_once_and_in_order(world: World) -> None:
    drawn = [ask_of(world.card, 300) for _ in range(5)]
    assert all(list(each.asked) == sorted(set(each.asked)) for each in drawn)
    assert all(len(each.asked) == 300 and each.asked[0] >= 0 and each.asked[-1] < 600 for each in drawn)
    assert len({each.asked for each in drawn}) == len({each.nonce for each in drawn}) == 5
    assert ask_of(world.card, 600).asked == tuple(range(600))


@pytest.mark.parametrize("count", [0, -1, 601, ASKED_MAX + 1])
def test_no_more_rows_are_asked_for_than_there_are_or_may_be(world: World, count: int) -> None:
    with pytest.raises(InputError, match="cannot be asked"):
        ask_of(world.card, count)


def test_a_challenge_of_ten_thousand_rows_is_read_and_one_of_more_is_not(world: World) -> None:
    told = json.loads(encode(world.ask)) | {"rows": 10**6, "asked": list(range(ASKED_MAX))}
    assert len(read_document(msgspec.json.encode(told, order="sorted") + b"\n", Ask).asked) == ASKED_MAX
    told["asked"].append(ASKED_MAX)
    with pytest.raises(InputError, match="not a document"):
        read_document(msgspec.json.encode(told, order="sorted") + b"\n", Ask)


WRONG_ASKS = {
    "a row twice": [3, 3, 5],
    "out of order": [5, 3],
    "a row that is not there": [3, 600],
    "a negative row": [-1],
    "none": [],
}


@pytest.mark.parametrize("case", WRONG_ASKS)
def test_a_challenge_that_cannot_be_is_not_read(world: World, case: str) -> None:
    told = json.loads(encode(world.ask)) | {"asked": WRONG_ASKS[case]}
    with pytest.raises(InputError, match="not a document"):
        read_document(msgspec.json.encode(told, order="sorted") + b"\n", Ask)


def test_a_challenge_to_another_tree_is_not_answered(world: World) -> None:
    for change in ({"root": "00" * 32}, {"rows": 601}):
        with pytest.raises(InputError, match="another commitment"):
            world.rows.answer(msgspec.structs.replace(world.ask, **change))


def test_no_single_change_to_an_answer_or_a_challenge_passes(world: World) -> None:
    passed, tried = [], 0

    def with_answer(read: Answer) -> None:
        check_answer(world.card, world.ask, read)

    def with_ask(read: Ask) -> None:
        check_answer(world.card, read, world.answer)

    for document, kind, check in ((world.answer, Answer, with_answer), (world.ask, Ask, with_ask)):
        plain = json.loads(encode(document))
        assert accepted(encode(document), kind, check)
        for change in changes(plain):
            data = msgspec.json.encode(change, order="sorted") + b"\n"
            if data != encode(document):
                tried += 1
                passed += [change] if accepted(data, kind, check) else []
        data = encode(document)
        for at in range(0, len(data), 11):
            for changed in (data[:at] + data[at + 1 :], data[:at] + data[at : at + 1] + data[at:], data[:at]):
                tried += 1
                passed += [changed] if accepted(changed, kind, check) else []
    assert tried > 1500
    assert passed == []


def other_rows(world: World) -> Answer:
    """Openings of rows that the signer would rather show, under the challenge's name."""
    other = world.rows.answer(msgspec.structs.replace(world.ask, asked=(1, 2, 4, 5, 6)))
    return msgspec.structs.replace(other, ask=world.answer.ask)


WRONG_ANSWERS: dict[str, Callable[[World], Answer]] = {
    "other rows": other_rows,
    "fewer rows": lambda w: msgspec.structs.replace(w.answer, openings=w.answer.openings[:-1]),
    "a row twice": lambda w: msgspec.structs.replace(w.answer, openings=(*w.answer.openings, w.answer.openings[-1])),
    "another order": lambda w: msgspec.structs.replace(w.answer, openings=w.answer.openings[::-1]),
    "an answer to an earlier challenge": lambda w: w.rows.answer(msgspec.structs.replace(w.ask, nonce="0" * 32)),
    "about another card": lambda w: msgspec.structs.replace(w.answer, card="0" * 64),
}


@pytest.mark.parametrize("case", WRONG_ANSWERS)
def test_an_answer_to_anything_else_is_refused(world: World, case: str) -> None:
    with pytest.raises(InputError):
        check_answer(world.card, world.ask, WRONG_ANSWERS[case](world))


def test_the_check_of_answers_sees_a_verifier_that_ignores_what_was_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="other rows than were asked"):
        check_answer(world.card, world.ask, other_rows(world))
    monkeypatch.setattr("custodes.commitment.proofs._check_asked", lambda *_: None)
    check_answer(world.card, world.ask, other_rows(world))


def test_more_rows_of_a_reason_than_the_card_counts_are_refused(world: World) -> None:
    told = world.card.statement.predicate
    fewer = msgspec.structs.replace(told, reasons={Reason.FULL: 4, Reason.PARTIAL_DAMAGED: 596})
    statement = msgspec.structs.replace(world.card.statement, predicate=fewer)
    card = replace(world.card, statement=statement)
    with pytest.raises(InputError, match="5 rows ended as full, and the card counts 4"):
        check_answer(card, world.ask, world.answer)


def test_an_opening_never_shows_itself(world: World) -> None:
    assert md5_of(3).hex() not in repr(world.answer)
    assert repr(world.rows._open(3)) == "<opened row>"


# -- examined again: images


IMAGES = [b"bytes of umbrella %d, which nobody decodes here" % number for number in range(30)]


def tar_of(path: Path, images: Sequence[bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number, data in enumerate(images):
            member = tarfile.TarInfo(f"{number:03}.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def parquet_of(path: Path, images: Sequence[bytes]) -> Path:
    column = pa.array([{"bytes": data, "path": f"{number}.jpg"} for number, data in enumerate(images)])
    pq.write_table(pa.table({"image": column}), path, row_group_size=7)
    return path


def scanned(
    home: Path, source: str, said: Callable[[int], dict[str, Any]], passes: tuple[str, ...] = ("bytes",)
) -> Earlier:
    """A run of the dataset whose rows are what ``said`` gives for their numbers, true or not."""
    site = make_site(home / "site")
    settings = site.scan_settings(passes=passes)
    plan = plan_scan(source, SourceOptions(), settings)
    used = earlier_list(site)
    names = [str(recipient) for recipient in site.recipients()]
    run = RunDirectory.create(
        home / "run",
        manifest_of(ScanPlan("dataset", plan, settings, used, names, demo_authority=True, confinement="")),
        site.run_key(),
    )
    first = 0
    for spec in plan.shards:
        rows = RowsBuilder(spec.rows)
        for row in range(spec.rows):
            rows.set(row, **said(first + row))
        first += spec.rows
        head = BundleHeader(
            format=FORMAT, run_id=run.manifest.run_id, tool="t", shard=spec.index, generation=0, findings=0, demo=True
        )
        run.commit(
            ShardCommit(
                shard=spec.index,
                generation=0,
                table=rows.table(),
                coverage={},
                started=1.0,
                finished=2.0,
                bytes_fetched=0,
                sealed=seal_bundle(head, [], site.recipients()),
                found=Found(),
            )
        )
    return Earlier(site, plan, run)


def earlier_list(site: Any) -> Any:
    from custodes.lists.container import Provenance
    from custodes.model import Entry, Kind

    site.lists().import_entries("other", [Entry(Kind.MD5, md5_of(-1), "none")], Provenance(source="test"))
    return site.lists_used(())


def honest(row: int) -> dict[str, Any]:
    md5, sha1, sha256 = crypto_digests(Content(IMAGES[row]))
    return {"reason": "full", "md5": md5, "sha1": sha1, "sha256": sha256}


def liar(row: int) -> dict[str, Any]:
    """A tenth of the rows were never looked at."""
    return honest(row + 1 if row % 10 == 4 else row)


SOURCES: dict[str, Callable[[Path, Sequence[bytes]], Path]] = {"tar": tar_of, "parquet": parquet_of}


def rows_of(found: Compared) -> dict[Again, list[int]]:
    return {again: sorted(rows) for again, rows in found.rows.items() if rows}


@pytest.mark.parametrize("form", SOURCES)
def test_images_are_digested_again_and_a_lie_shows(tmp_path: Path, form: str) -> None:
    path = SOURCES[form](tmp_path / f"set.{form}", IMAGES)
    for name, said in (("honest", honest), ("liar", liar)):
        world = world_of(scanned(tmp_path / name, str(path), said), 30)
        check_answer(world.card, world.ask, world.answer)  # a liar's openings hold, too: they are what it committed to
        found = compare(world.card, world.answer.openings, Dataset(str(path)))
        wrong = [4, 14, 24] if name == "liar" else []
        assert found.rows[Again.DIFFERS] == wrong
        assert len(found.rows[Again.AGREES]) == 30 - len(wrong)
        assert found.checked == 30


def test_the_check_sees_a_digest_that_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar_of(tmp_path / "set.tar", IMAGES)
    world = world_of(scanned(tmp_path, str(path), liar), 30)
    monkeypatch.setattr(again, "_image", lambda *_: Again.AGREES)
    assert rows_of(compare(world.card, world.answer.openings, Dataset(str(path)))) == {Again.AGREES: list(range(30))}


REASONS_OF_IMAGES = {
    0: ({"reason": "carrier_died"}, Again.NOT_DIGESTED),
    1: ({"reason": "full"}, Again.DIFFERS),  # examined, and no digest of anything
    2: ({"reason": "too_large"}, Again.NOT_DIGESTED),
    3: ({"reason": "broken", "md5": crypto_digests(Content(IMAGES[3]))[0]}, Again.AGREES),
    4: ({"reason": "broken", "md5": bytes(16)}, Again.DIFFERS),
    5: ({"reason": "empty"}, Again.AGREES),
    6: ({"reason": "full", "sha256": crypto_digests(Content(b""))[2]}, Again.DIFFERS),  # the row is empty
}


def test_what_an_image_can_show_of_its_outcome(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "set.tar", [*IMAGES[:5], b"", b""])
    world = world_of(scanned(tmp_path, str(path), lambda row: REASONS_OF_IMAGES[row][0]), 7)
    found = compare(world.card, world.answer.openings, Dataset(str(path)))
    assert {row: kind for kind, rows in found.rows.items() for row in rows} == {
        row: told for row, (_, told) in REASONS_OF_IMAGES.items()
    }


def test_a_dataset_that_is_not_the_cards_is_not_compared(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "set.tar", IMAGES)
    world = world_of(scanned(tmp_path, str(path), honest), 5)
    tar_of(path, [*IMAGES[:-1], b"another"])
    with pytest.raises(InputError, match="not the files that the card names"):
        compare(world.card, world.answer.openings, Dataset(str(path)))


# -- examined again: links


URLS = [f"http://a.test/{number}" for number in range(6)] + [None, None]
SEEN, OTHER = crypto_digests(Content(b"then")), crypto_digests(Content(b"today"))

LINKS: dict[int, tuple[dict[str, Any], Again, Again]] = {
    0: ({"reason": "full", "sha256": SEEN[2]}, Again.NOT_FETCHED, Again.AGREES),
    1: ({"reason": "full", "sha256": OTHER[2]}, Again.NOT_FETCHED, Again.CHANGED),
    2: ({"reason": "full", "sha256": SEEN[2]}, Again.NOT_FETCHED, Again.GONE),
    3: ({"reason": "http_404"}, Again.NOT_FETCHED, Again.BACK),
    4: ({"reason": "dns"}, Again.NOT_FETCHED, Again.STILL_AWAY),
    5: ({"reason": "no_url"}, Again.DIFFERS, Again.DIFFERS),
    6: ({"reason": "no_url"}, Again.AGREES, Again.AGREES),
    7: ({"reason": "full", "sha256": SEEN[2]}, Again.DIFFERS, Again.DIFFERS),
}
"""Of each row: what the card says; how it is found without fetching, and with."""


def web(links: list[tuple[int, str]]) -> list[Carried]:
    """Rows 2 and 4 are gone, all else gives the bytes of then."""
    assert all(url == f"http://a.test/{row}" for row, url in links)
    return [
        Carried(batch=0, key=row, reason=Reason.DNS)
        if row in (2, 4)
        else Carried(batch=0, key=row, reason=Reason.FULL, md5=SEEN[0], sha256=SEEN[2])
        for row, _ in links
    ]


def test_what_the_web_gives_today_is_told_apart_from_a_lie(tmp_path: Path) -> None:
    source = write_links(tmp_path / "links.parquet", URLS)
    world = world_of(scanned(tmp_path, str(source), lambda row: LINKS[row][0]), len(LINKS))
    for at, fetch in ((1, None), (2, web)):
        found = compare(world.card, world.answer.openings, Dataset(str(source)), fetch)
        assert {row: kind for kind, rows in found.rows.items() for row in rows} == {
            row: told[at] for row, told in LINKS.items()
        }
    assert found.checked == 4  # what changed, is gone or was away shows no lie, and counts for nothing


class Page(BaseHTTPRequestHandler):
    """Gives the bytes of then at /0, nothing elsewhere."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/0" else 404)
        self.end_headers()
        self.wfile.write(b"then" if self.path == "/0" else b"")

    def log_message(self, *_: object) -> None:
        pass


def test_links_are_fetched_again_as_a_scan_fetches_them(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        source = write_links(
            tmp_path / "links.parquet", [f"http://127.0.0.1:{server.server_port}/{at}" for at in (0, 1)]
        )
        past = scanned(tmp_path, str(source), lambda _: {"reason": "full", "sha256": SEEN[2]})
        card = tmp_path / "card.dsse.json"
        vkey = write_card(statement_of(past.run, past.site.run_key()), KEY, card)
        ask, answer = tmp_path / "ask.json", tmp_path / "answer.json"
        run("audit", "ask", card, "--key", vkey, "--rows", 2, "--out", ask)
        run("audit", "answer", past.run.path, ask, "--out", answer, *past.config)
        check = ("audit", "check", card, answer, "--key", vkey, "--ask", ask, "--dataset", source, "--fetch", "--json")
        code, output = run(*check, "--unsafe-allow-loopback")
        assert (code, {k: v for k, v in json.loads(output)["again"].items() if v}) == (0, {"agrees": 1, "gone": 1})
        code, output = run(*check)  # the guard holds: this machine is not fetched from
        assert (code, {k: v for k, v in json.loads(output)["again"].items() if v}) == (0, {"gone": 2})
        server.shutdown()


def test_an_examined_link_without_a_digest_is_no_agreement_whatever_it_gives(tmp_path: Path) -> None:
    source = write_links(tmp_path / "links.parquet", URLS[:1])
    world = world_of(scanned(tmp_path, str(source), lambda _: {"reason": "full"}), 1)
    assert rows_of(compare(world.card, world.answer.openings, Dataset(str(source)), web)) == {Again.DIFFERS: [0]}


def test_a_pass_over_columns_alone_has_nothing_to_compare(tmp_path: Path) -> None:
    source = write_links(tmp_path / "links.parquet", URLS[:3], md5=[md5_of(row).hex() for row in range(3)])
    world = world_of(scanned(tmp_path, str(source), lambda _: {"reason": "columns_only"}, ("columns",)), 3)
    found = compare(world.card, world.answer.openings, Dataset(str(source)))
    assert rows_of(found) == {Again.NOT_DIGESTED: [0, 1, 2]}
    assert found.checked == 0


# -- from the command line


def run(*arguments: str | Path | int) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    return int(result.return_value or 0), result.output


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two runs of one tar, of an honest signer and of a liar, with their cards."""
    home = tmp_path_factory.mktemp("signed")
    path = tar_of(home / "set.tar", IMAGES)
    found: dict[str, Any] = {"dataset": path}
    for name, said in (("honest", honest), ("liar", liar)):
        past = scanned(home / name, str(path), said)
        card = home / f"{name}.dsse.json"
        vkey = write_card(statement_of(past.run, past.site.run_key()), KEY, card)
        found[name] = (past, card, ("--key", vkey))
    return found


def test_a_row_is_proven_and_checked(signed: dict[str, Any], tmp_path: Path) -> None:
    past, card, key = signed["honest"]
    out = tmp_path / "row.json"
    code, output = run(
        "prove", past.run.path, "--row", 7, "--file", "set.tar", "--card", card, "--out", out, *past.config
    )
    assert (code, "row 7 of 30" in output) == (0, True)
    code, output = run("audit", "check", card, out, *key)
    assert (code, "row 7 of 30 is under this card" in output) == (0, True)
    assert json.loads(run("audit", "check", card, out, *key, "--json")[1]) == {"proven": True, "row": 7, "rows": 30}
    other = signed["liar"]
    with pytest.raises(InputError, match="about another card"):
        run("audit", "check", other[1], out, *other[2])
    with pytest.raises(InputError, match="has not committed"):
        run("prove", past.run.path, "--row", 7, "--card", other[1], "--out", out, *past.config)


def challenged(signed: dict[str, Any], who: str, folder: Path) -> tuple[Path, Path]:
    past, card, key = signed[who]
    ask, answer = folder / "ask.json", folder / "answer.json"
    code, output = run("audit", "ask", card, *key, "--rows", 30, "--out", ask)
    assert (code, "30 of 30 rows" in output) == (0, True)
    code, output = run("audit", "answer", past.run.path, ask, "--out", answer, *past.config)
    assert (code, "30 rows opened" in output) == (0, True)
    assert answer.stat().st_mode & 0o777 == 0o600
    return ask, answer


def test_an_honest_signer_passes_and_what_is_not_shown_is_said(signed: dict[str, Any], tmp_path: Path) -> None:
    _, card, key = signed["honest"]
    ask, answer = challenged(signed, "honest", tmp_path)
    code, output = run("audit", "check", card, answer, *key, "--ask", ask)
    assert (code, "was not looked at" in output, "not shown by this" in output) == (0, True, True)
    code, output = run("audit", "check", card, answer, *key, "--ask", ask, "--dataset", signed["dataset"])
    assert code == 0
    assert "30 have the digest" in output
    assert "1 row                0" in output
    told = json.loads(
        run("audit", "check", card, answer, *key, "--ask", ask, "--dataset", signed["dataset"], "--json")[1]
    )
    assert (told["opened"], told["again"]["agrees"], told["wrong"]) == (30, 30, [])


def test_a_liar_is_caught(signed: dict[str, Any], tmp_path: Path) -> None:
    _, card, key = signed["liar"]
    ask, answer = challenged(signed, "liar", tmp_path)
    assert run("audit", "check", card, answer, *key, "--ask", ask)[0] == 0
    code, output = run("audit", "check", card, answer, *key, "--ask", ask, "--dataset", signed["dataset"])
    assert code == 2
    assert "NOT to be believed: see rows 4, 14, 24" in output
    code, output = run("audit", "check", card, answer, *key, "--ask", ask, "--dataset", signed["dataset"], "--json")
    assert (code, json.loads(output)["wrong"]) == (2, [4, 14, 24])


def test_an_answer_is_not_checked_without_its_challenge(signed: dict[str, Any], tmp_path: Path) -> None:
    _, card, key = signed["honest"]
    ask, answer = challenged(signed, "honest", tmp_path)
    with pytest.raises(InputError, match="with the challenge"):
        run("audit", "check", card, answer, *key)
    with pytest.raises(InputError, match="neither a row's proof nor an answer"):
        run("audit", "check", card, ask, *key, "--ask", ask)
    with pytest.raises(InputError, match="neither a row's proof nor an answer"):
        run("audit", "check", card, card, *key, "--ask", ask)


def test_a_card_that_does_not_verify_is_not_challenged(signed: dict[str, Any], tmp_path: Path) -> None:
    _, card, key = signed["honest"]
    changed = tmp_path / "card.dsse.json"
    changed.write_bytes(card.read_bytes() + b"\n")
    with pytest.raises(InputError, match="not to be believed"):
        run("audit", "ask", changed, *key, "--out", tmp_path / "ask.json")
    with pytest.raises(InputError, match="not a card"):
        run(
            "prove",
            signed["honest"][0].run.path,
            "--row",
            0,
            "--card",
            signed["dataset"],
            "--out",
            tmp_path / "p",
            *signed["honest"][0].config,
        )
    assert list(tmp_path.iterdir()) == [changed]


def test_a_card_of_a_run_that_was_not_finished_commits_to_nothing(signed: dict[str, Any]) -> None:
    statement = statement_of(signed["honest"][0].run, signed["honest"][0].site.run_key())
    without = msgspec.structs.replace(statement.predicate, commitment=None)
    with pytest.raises(InputError, match="commits to no rows"):
        card_rows(msgspec.structs.replace(statement, predicate=without))


def test_shards_that_were_changed_open_nothing(tmp_path: Path) -> None:
    past = earlier(tmp_path, 1, 20)
    world = world_of(past, 3)
    (past.run.path / shard_name(0, 0)).write_bytes(b"no parquet")
    with pytest.raises(StorageError):
        world.rows.answer(world.ask)
