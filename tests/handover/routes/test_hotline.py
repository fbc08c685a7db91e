"""Hotlines: sealed files that open again, and a cover sheet that may go by open mail."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from custodes.crypto.dsse import verify
from custodes.crypto.seal import unseal
from custodes.errors import ConfigError, InputError, StorageError
from custodes.handover.delivery import Delivered, key_of
from custodes.handover.incident import Incident
from custodes.handover.package import Reporter, open_package, read_package
from custodes.handover.routes.addresses import ADDRESSES_TYPE
from custodes.handover.routes.connect import connect
from custodes.handover.routes.hotline import Hotline
from custodes.handover.routes.settings import HotlineSettings
from tests.handover.hostile import hostile_strings
from tests.handover.making import KEY, KEYS, OTHER, OTHER_SECRET, SECRET, TO, finding, incidents, match
from tests.handover.routes.making import NOW, Store, around, incident, sender

ENCODABLE = [text for text in hostile_strings() if not any("\ud800" <= char < "\ue000" for char in text)]


def hotline(home: Path, *, by: Reporter | None = None, **changed: Any) -> Hotline:
    fields: dict[str, Any] = {"title": "Example Hotline", "recipients": (str(TO),)}
    who = sender(reporter=by) if by else sender()
    made = connect(HotlineSettings(**(fields | changed)), around(home, sender=who), "north")
    assert isinstance(made, Hotline)
    return made


def written(route: Hotline, of: Incident, number: int = 0) -> Path:
    """The files' common name."""
    ended = asyncio.run(route.deliver(of, key_of(route, of.id, number), Store()))
    assert isinstance(ended, Delivered)
    return route.folder / ended.receipt


def suffixed(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def cover_of(path: Path) -> str:
    return suffixed(path, ".txt").read_text(encoding="utf-8")


def test_a_package_is_written_and_opened_with_its_cover_sheet(tmp_path: Path) -> None:
    of = incident(1, 1, 2)
    path = written(hotline(tmp_path, recipients=(str(TO), str(OTHER)), environment="production"), of)
    assert path.name == f"hotline-north-production-{of.id}"
    assert sorted(each.name.removeprefix(path.name) for each in path.parent.iterdir()) == [
        ".custodes.age",
        ".custodes.dsse.json",
        ".txt",
    ]
    for secret in (SECRET, OTHER_SECRET):
        opened = open_package(read_package(suffixed(path, ".custodes.age")), secret, KEYS)
        assert opened.incidents == [of]
        about = opened.header.about
        assert (about.environment, about.made_at) == ("production", "2026-11-01T12:00:00+00:00")
        assert (about.runs, about.datasets) == (("a9d0a6d67471202c",), ("links.parquet",))
        assert [(each.list, each.version) for each in about.lists] == [("hotline", "2026-03-01-0a1b2c")]
    cover = cover_of(path)
    for said in ("Example Hotline", "Example Lab", "safety@lab.example", path.name, str(KEY.verifier), "production"):
        assert said in cover
    assert "TEST" not in cover
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}


def test_a_test_says_so_on_the_first_line_and_inside(tmp_path: Path) -> None:
    path = written(hotline(tmp_path), incident())
    assert cover_of(path).startswith("THIS IS A TEST. IT REPORTS NOTHING.\n")
    opened = open_package(read_package(suffixed(path, ".custodes.age")), SECRET, KEYS)
    assert opened.header.about.environment == "test"


def test_places_that_were_found_later_are_files_of_their_own(tmp_path: Path) -> None:
    route = hotline(tmp_path)
    names = {written(route, incident(1, 1)).name, written(route, incident(1, 2), 1).name}
    assert names == {f"hotline-north-test-{incident().id}", f"hotline-north-test-{incident().id}-1"}


# -- addresses alone


def test_a_list_of_addresses_is_sealed_signed_and_nothing_else(tmp_path: Path) -> None:
    of = incidents(
        finding(1, 1, url="HTTPS://Images.Example/ä b.jpg#x", final_url="https://cdn.example/1"),
        finding(2, 1, url="http://images.example/2\nhttp://attacker.example/"),
        finding(3, 1, url="javascript:alert(1)"),
        finding(4, 1, url="http://images.example/" + "a" * 5000),
    )[0]
    path = written(hotline(tmp_path, form="addresses"), of)
    sealed = suffixed(path, ".addresses.age").read_bytes()
    outside = msgspec.json.decode(verify(suffixed(path, ".addresses.dsse.json").read_bytes(), ADDRESSES_TYPE, KEYS)[0])
    assert outside == {
        "format": "custodes-addresses/1",
        "reporter": "Example Lab",
        "environment": "test",
        "made_at": "2026-11-01T12:00:00+00:00",
        "size_bytes": len(sealed),
        "sha256": hashlib.sha256(sealed).hexdigest(),
    }
    plain = unseal(sealed, SECRET)
    assert len(plain) == 8192
    text = plain.decode().rstrip("\n")
    assert text.split("\n") == [
        "# custodes-addresses/1, environment test",
        "# reported by Example Lab, safety@lab.example",
        f"# signed by {KEY.verifier}",
        f"# reference {of.id}, made 2026-11-01T12:00:00+00:00",
        "# Found by automatic comparison of hash values. No person viewed what is at these addresses.",
        "https://images.example/%C3%A4%20b.jpg",
        "https://cdn.example/1",
        "http://images.example/2http://attacker.example/",
        "http://images.example/" + "a" * 5000,
    ]
    assert not any(value in text for value in of.digests.values())


def test_hostile_links_make_no_line_of_their_own(tmp_path: Path) -> None:
    found = [finding(number, 1, url=text, final_url=text) for number, text in enumerate(ENCODABLE)]
    found.append(finding(len(found), 1))
    path = written(hotline(tmp_path, form="addresses", title="x\n\x1b[31m"), incidents(*found)[0])
    lines = unseal(suffixed(path, ".addresses.age").read_bytes(), SECRET).decode().rstrip("\n").split("\n")
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert all(line.startswith(("http://", "https://")) and " " not in line for line in lines[5:])
    assert len(set(lines)) == len(lines)


def test_what_has_no_web_address_is_refused_before_it_is_queued(tmp_path: Path) -> None:
    for url in ("", "data:image/png;base64,AA", "ftp://images.example/1"):
        of = incident(1, url=url)
        with pytest.raises(InputError, match="no place of the incident has a web address"):
            hotline(tmp_path, form="addresses").check(of)
        hotline(tmp_path).check(of)


# -- the cover sheet


def leaks(cover: str, of: Incident) -> list[str]:
    """What must not be on a sheet that goes by open mail: links, digests, names of the dataset, what matched; and what is no plain text."""
    secrets = list(of.digests.values())
    for place in of.places:
        secrets += [place.url, place.domain, place.final_url, place.dataset, place.file, place.row_key]
    for each in of.matches:
        secrets += [each.list, each.entry, each.list_version]
    found = [text for text in secrets if len(text) > 2 and text in cover]
    found += re.findall(r"https?://\S+|(?<![\w-])[0-9a-f]{32,}(?!\w)", cover)
    return found + [char for char in cover if not (char == "\n" or char.isprintable())]


def test_a_cover_sheet_holds_no_link_no_digest_and_nothing_of_the_dataset(tmp_path: Path) -> None:
    listed = match(1, list="list-of-north")
    named = {"dataset": "set-of-links", "file": "part-7", "row_key": "key-9", "matches": (listed,)}
    of = incident(1, 1, 2, **named)
    for form in ("package", "addresses"):
        path = written(hotline(tmp_path / form, form=form), of)
        assert leaks(cover_of(path), of) == []


def test_hostile_strings_do_not_change_a_cover_sheet(tmp_path: Path) -> None:
    plain = cover_of(written(hotline(tmp_path / "plain"), incident()))
    of = incidents(*(finding(n, 1, url=t, dataset=t, file=t, row_key=t) for n, t in enumerate(ENCODABLE)))[0]
    assert cover_of(written(hotline(tmp_path / "hostile"), of)) == plain


def test_names_that_try_to_be_more_than_text_stay_in_their_line(tmp_path: Path) -> None:
    expected = cover_of(written(hotline(tmp_path / "plain"), incident())).count("\n")
    for number, text in enumerate(hostile_strings()):
        if not text.strip():
            continue
        route = hotline(tmp_path / str(number), by=Reporter(name=text, contact=text), title=text)
        cover = route._cover("name", NOW)
        assert cover.count("\n") == expected
        assert all(char == "\n" or char.isprintable() for char in cover)
        assert len(cover) < 20_000
        cover.encode()


def test_a_leak_is_seen_by_the_same_check(tmp_path: Path) -> None:
    class Telling(Hotline):
        def _cover(self, name: str, now: Any) -> str:
            return super()._cover(name, now) + f"It was found at {of.places[0].url}, MD5 {of.digests['md5']}\n"

    of = incident()
    route = hotline(tmp_path)
    telling = Telling(route.name, route.settings, route.recipients, route.folder, route.sender)
    assert len(leaks(cover_of(written(telling, of)), of)) >= 3


# -- at least once


def test_what_was_written_is_left_as_it_is_by_another_attempt(tmp_path: Path) -> None:
    route = hotline(tmp_path)
    path = written(route, incident())
    before = {each: each.read_bytes() for each in path.parent.iterdir()}
    assert written(route, incident()) == path
    assert {each: each.read_bytes() for each in path.parent.iterdir()} == before
    suffixed(path, ".custodes.age").unlink()  # sent, and put away
    written(route, incident())
    assert not suffixed(path, ".custodes.age").exists()


@pytest.mark.parametrize("form", ["package", "addresses"])
def test_a_crash_before_the_cover_sheet_is_mended_and_a_sheet_never_stands_alone(tmp_path: Path, form: str) -> None:
    class Dying(Hotline):
        def _cover(self, name: str, now: Any) -> str:
            raise StorageError(f"the disk is full: {name} {now}")

    route = hotline(tmp_path, form=form)
    with pytest.raises(StorageError):
        written(Dying(route.name, route.settings, route.recipients, route.folder, route.sender), incident())
    assert not list(route.folder.glob("*.txt"))
    path = written(route, incident())
    assert len(list(path.parent.iterdir())) == 3


# -- previews and settings


def test_a_preview_shows_the_sheet_and_what_would_be_sealed(tmp_path: Path) -> None:
    of = incident()
    for form, said in (("package", of.digests["md5"]), ("addresses", "\nhttps://images.example/1.jpg\n")):
        route = hotline(tmp_path, form=form)
        shown = route.preview(of, NOW)
        assert shown.startswith(route._cover(f"hotline-north-test-{of.id}", NOW))
        assert f"\nsealed to {TO}:\n" in shown
        assert said in shown
    assert not (tmp_path / "outgoing").exists()


def test_a_demonstration_is_refused_in_production(tmp_path: Path) -> None:
    demo = msgspec.structs.replace(incident(), demo=True)
    hotline(tmp_path).check(demo)
    with pytest.raises(InputError, match="never handed over as real"):
        hotline(tmp_path, environment="production").check(demo)


def test_a_delivery_whose_key_makes_no_name_writes_nothing(tmp_path: Path) -> None:
    for key in ("", "../x", "a b", "a" * 129, ".hidden", "a\x00b"):
        with pytest.raises(InputError, match="makes no name"):
            asyncio.run(hotline(tmp_path).deliver(incident(), key, Store()))
    assert not (tmp_path / "outgoing").exists()


GIVEN = {"title": "T", "recipients": [str(TO)]}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nobody to seal to": ({"recipients": []}, "nothing is sealed to nobody"),
    "no title": ({"title": " "}, "title must name"),
    "a form that is none": ({"form": "email"}, "Invalid enum value"),
}


@pytest.mark.parametrize("sort", WRONG)
def test_settings_that_cannot_be_meant_are_refused(sort: str) -> None:
    fields, said = WRONG[sort]
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(GIVEN | fields, HotlineSettings)


def test_a_recipient_that_is_none_is_refused_when_the_route_is_connected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not an age recipient"):
        hotline(tmp_path, recipients=("age1nobody",))
