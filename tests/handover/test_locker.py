"""Folders under the transport key: nothing readable, nothing half, and no key that is missed too late."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from custodes.errors import ConfigError, InputError, StorageError
from custodes.handover import locker as module
from custodes.handover.locker import Damaged, Locker, key_id
from custodes.handover.place import Folder, Place
from tests.handover.homes import Home
from tests.handover.keeping import transport_key

OLD, NEW = transport_key(1), transport_key(2)
NAME = "0" * 31 + "1"
FORM = "custodes-numbers/1"


def filled(place: Place | Path, count: int = 3) -> Locker:
    locker = Locker(Folder(place) if isinstance(place, Path) else place, FORM, [OLD])
    for number in range(count):
        locker.write(locker.name(str(number)), b"content %d" % number)
    return locker


def contents(locker: Locker) -> set[bytes | None]:
    return {locker.read(name) for name in locker.names()}


THREE = {b"content 0", b"content 1", b"content 2"}


def test_what_was_written_is_read_back_after_opening_again(home: Home) -> None:
    first = filled(home / "box")
    again = Locker(home / "box", FORM, [OLD])
    assert contents(again) == THREE
    assert again.name("7") == first.name("7")
    assert again.name("ab", "c") != again.name("a", "bc")
    assert again.read(again.name("7")) is None


def test_the_folder_is_the_owners_alone_and_names_differ_between_folders(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "one"), filled(tmp_path / "other")
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "one").rglob("*"))
    assert one.name("1") != other.name("1")
    (tmp_path / "one").chmod(0o750)
    with pytest.raises(ConfigError, match="entered by others"):
        Locker(Folder(tmp_path / "one"), FORM, [OLD])


@pytest.mark.parametrize(("size", "file_bytes"), [(0, 4096), (4088, 4096), (4089, 8192), (70_000, 131_072)])
def test_sizes_are_told_to_the_next_power_of_two(tmp_path: Path, size: int, file_bytes: int) -> None:
    locker = Locker(Folder(tmp_path / "box"), FORM, [OLD])
    locker.write(NAME, b"\0" * size)
    frames = -(-file_bytes // 65_536)
    assert (tmp_path / "box" / f"{NAME}.item").stat().st_size == file_bytes + 8 + 56 + 16 * frames
    assert locker.read(NAME) == b"\0" * size


def test_contents_have_a_limit(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONTENT_BYTES_MAX", 10)
    locker = Locker(home / "box", FORM, [OLD])
    locker.write(NAME, b"0123456789")
    with pytest.raises(InputError, match="more than"):
        locker.write(NAME, b"0123456789a")
    assert locker.read(NAME) == b"0123456789"


@pytest.mark.parametrize("name", ["", "../" + NAME, NAME + "\n", NAME[1:], NAME + "0", "A" * 32, "check"])
def test_names_that_are_none_lead_nowhere(home: Home, name: str) -> None:
    with pytest.raises(InputError, match="named by"):
        Locker(home / "box", FORM, [OLD]).read(name)


# -- damage


def test_a_file_that_is_damaged_cut_or_moved_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    locker = filled(tmp_path / "box")
    paths = sorted((tmp_path / "box").glob("*.item"))
    whole = paths[0].read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    wrong = [bytes(flipped), whole[:-1], whole + b"\0", whole[:8], b"", paths[1].read_bytes(), b"\0" * 8 + whole[8:]]
    for data in wrong:
        paths[0].write_bytes(data)
        with pytest.raises(Damaged):
            locker.read(paths[0].stem)
        assert len([locker.read(path.stem) for path in paths[1:]]) == 2


def test_a_file_of_a_folder_for_another_purpose_does_not_open(home: Home) -> None:
    filled(home / "box")
    with pytest.raises(StorageError, match="of another folder"):
        Locker(home / "box", "custodes-letters/1", [OLD])


def test_planted_without_a_context_a_moved_file_is_taken_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Locker, "_context", lambda *_: b"")
    locker = filled(tmp_path / "box")
    one, other, *_ = sorted((tmp_path / "box").glob("*.item"))
    one.write_bytes(other.read_bytes())
    assert locker.read(one.stem) == locker.read(other.stem)


# -- spent names


def test_what_is_spent_is_gone_for_good_also_when_a_crash_left_its_file(tmp_path: Path) -> None:
    locker = filled(tmp_path / "box")
    name = locker.name("1")
    kept = (tmp_path / "box" / f"{name}.item").read_bytes()
    locker.spend(name)
    assert (locker.spent(name), locker.read(name), name in locker) == (True, None, False)
    (tmp_path / "box" / f"{name}.item").write_bytes(kept)  # as between the mark and the removal
    assert locker.read(name) is None
    assert name not in locker.names()
    Locker(Folder(tmp_path / "box"), FORM, [OLD])
    assert not (tmp_path / "box" / f"{name}.item").exists()
    assert locker.spent(name)


def test_what_a_crash_left_half_written_is_swept_at_the_next_opening(tmp_path: Path) -> None:
    filled(tmp_path / "box")
    left = [tmp_path / "box" / f".{NAME}.item.aside", tmp_path / "box" / "keys" / ".0.check.aside"]
    for path in left:
        path.write_bytes(b"half")
    assert contents(Locker(Folder(tmp_path / "box"), FORM, [OLD])) == THREE
    assert not any(path.exists() for path in left)


# -- keys


def test_a_missing_key_is_noticed_when_the_folder_is_opened_even_if_it_is_empty(home: Home) -> None:
    filled(home / "box")
    Locker(home / "empty", FORM, [OLD])
    for folder in ("box", "empty"):
        with pytest.raises(ConfigError, match=f"transport key {key_id(OLD)}, which is not there"):
            Locker(home / folder, FORM, [NEW])
    with pytest.raises(ConfigError, match="without a transport key"):
        Locker(home / "box", FORM, [])


def test_planted_without_check_files_a_missing_key_is_noticed_at_need_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locker = filled(tmp_path / "box")
    monkeypatch.setattr(Locker, "_checks", lambda _: {})
    monkeypatch.setattr(Locker, "names", lambda _: [])
    late = Locker(Folder(tmp_path / "box"), FORM, [NEW])
    with pytest.raises(Damaged):
        late.read(locker.name("1"))


def test_the_id_of_a_key_tells_keys_apart_and_nothing_of_them() -> None:
    assert key_id(OLD) != key_id(NEW)
    assert bytes.fromhex(key_id(OLD)) not in bytes([1] * 32)
    assert len(key_id(OLD)) == 16


def test_damaged_missing_and_mixed_check_files_are_refused(tmp_path: Path) -> None:
    filled(tmp_path / "box")
    filled(tmp_path / "other")
    check = tmp_path / "box" / "keys" / f"{key_id(OLD)}.check"
    whole = check.read_bytes()
    check.write_bytes(whole[:-1])
    with pytest.raises(StorageError, match="damaged"):
        Locker(Folder(tmp_path / "box"), FORM, [OLD])
    check.unlink()
    with pytest.raises(StorageError, match="no check"):
        Locker(Folder(tmp_path / "box"), FORM, [OLD])
    check.write_bytes(whole)
    Locker(Folder(tmp_path / "other"), FORM, [NEW, OLD])
    shutil.copy(tmp_path / "other" / "keys" / f"{key_id(NEW)}.check", tmp_path / "box" / "keys")
    with pytest.raises(StorageError, match="two folders"):
        Locker(Folder(tmp_path / "box"), FORM, [NEW, OLD])


def test_after_rotation_the_new_key_alone_opens_everything_and_names_are_the_same(home: Home) -> None:
    name = filled(home / "box").name("1")
    locker = Locker(home / "box", FORM, [NEW, OLD])
    locker.spend(locker.name("0"))
    assert locker.rotate() == 2
    assert locker.rotate() == 0
    alone = Locker(home / "box", FORM, [NEW])
    assert contents(alone) == THREE - {b"content 0"}
    assert alone.name("1") == name
    assert alone.spent(alone.name("0"))
    with pytest.raises(ConfigError):
        Locker(home / "box", FORM, [OLD])


def test_rotation_that_stopped_goes_on_and_until_then_both_keys_are_needed(home: Home) -> None:
    filled(home / "box")
    half = Locker(home / "box", FORM, [NEW, OLD])
    half.write(half.name("1"), b"content 1")  # as if rotation had come to this one
    for keys in ([NEW], [OLD]):
        with pytest.raises(ConfigError):
            Locker(home / "box", FORM, keys)
    assert contents(Locker(home / "box", FORM, [OLD, NEW])) == THREE
    assert Locker(home / "box", FORM, [NEW, OLD]).rotate() == 2
    assert contents(Locker(home / "box", FORM, [NEW])) == THREE


def test_who_still_has_the_old_key_alone_writes_nothing_after_rotation(home: Home) -> None:
    old = filled(home / "box")
    Locker(home / "box", FORM, [NEW, OLD]).rotate()
    with pytest.raises(ConfigError, match="was replaced"):
        old.write(old.name("9"), b"late")
    assert contents(Locker(home / "box", FORM, [NEW])) == THREE


def test_rotation_stops_at_a_damaged_file_and_forgets_no_key(tmp_path: Path) -> None:
    filled(tmp_path / "box")
    path = sorted((tmp_path / "box").glob("*.item"))[1]
    path.write_bytes(path.read_bytes()[:-1])
    locker = Locker(Folder(tmp_path / "box"), FORM, [NEW, OLD])
    with pytest.raises(Damaged):
        locker.rotate()
    assert len(list((tmp_path / "box" / "keys").glob("*.check"))) == 2
    locker.remove(path.stem)
    locker.rotate()
    assert len(contents(Locker(Folder(tmp_path / "box"), FORM, [NEW]))) == 2


def test_nothing_prints_a_key_or_a_content(home: Home) -> None:
    locker = filled(home / "box")
    assert "content" not in repr(locker)
    assert bytes([1] * 32).hex() not in repr(vars(locker))
