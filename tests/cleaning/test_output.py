"""What a card names of a cleaned dataset: every file that was written, and nothing from a folder that is not as it was written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from custodes.cleaning import output
from custodes.cleaning.output import output_digests
from custodes.cleaning.writing import NOTE, Note, make_whole_folder
from custodes.errors import InputError

NOTE_OF_IT = Note(format="f", tool="t", dataset="d", rows=5, left=2, crowd=2, reasons=(), tag="t")
FILES = {"a.csv": b"one", "below/b.csv": b"two", "below/empty.csv": b""}


def written(folder: Path) -> Path:
    make_whole_folder(
        folder, NOTE_OF_IT, {name: lambda file, data=data: file.write(data) for name, data in FILES.items()}
    )  # type: ignore[misc]
    return folder


def test_every_file_is_digested_the_note_too_and_the_note_says_how_many_they_are(tmp_path: Path) -> None:
    folder = written(tmp_path / "new")
    note, digests = output_digests(folder)
    assert (note.rows, note.left, note.files) == (5, 2, 3)
    assert list(digests) == ["a.csv", "below/b.csv", "below/empty.csv", NOTE]
    for name, digest in digests.items():
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file is missing": lambda folder: (folder / "below" / "empty.csv").unlink(),
    "there is a file more": lambda folder: (folder / "c.csv").touch(),
    "there is a hidden file more": lambda folder: (folder / "below" / ".c").touch(),
    "a file has another name": lambda folder: (folder / "a.csv").rename(folder / "b.csv"),
    "a file has another place": lambda folder: (folder / "a.csv").rename(folder / "below" / "a.csv"),
    "there is a link more": lambda folder: (folder / "c.csv").symlink_to("a.csv"),
    "a file became a link": lambda folder: [
        (folder / "a.csv").rename(folder.parent / "a.csv"),
        (folder / "a.csv").symlink_to(folder.parent / "a.csv"),
    ],
    "a folder became a link": lambda folder: [
        (folder / "below").rename(folder.parent / "below"),
        (folder / "below").symlink_to(folder.parent / "below"),
    ],
    "there is a pipe": lambda folder: os.mkfifo(folder / "pipe"),
    "the note is gone": lambda folder: (folder / NOTE).unlink(),
    "the note is cut": lambda folder: os.truncate(folder / NOTE, 40),
    "the note is empty": lambda folder: os.truncate(folder / NOTE, 0),
    "the note tells of another number of files": lambda folder: (folder / NOTE).write_bytes(
        (folder / NOTE).read_bytes().replace(b'"files": 3', b'"files": 4')
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_folder_that_is_not_as_it_was_written_is_refused(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = written(tmp_path / "new")
    change(folder)
    with pytest.raises(InputError):
        output_digests(folder)


def test_an_unfinished_folder_is_refused_under_its_own_name_and_any_other(tmp_path: Path) -> None:
    def stops(_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match="No space left"):
        make_whole_folder(tmp_path / "new", NOTE_OF_IT, {"a": lambda file: file.write(b"a"), "b": stops})
    with pytest.raises(InputError, match="is unfinished"):
        output_digests(tmp_path / "new.unfinished")
    (tmp_path / "new.unfinished").rename(tmp_path / "new")
    with pytest.raises(InputError, match="holds 1 files, and other ones than the 2"):
        output_digests(tmp_path / "new")
    with pytest.raises(InputError, match="was not written by custodes clean"):
        output_digests(tmp_path / "nowhere")


def test_without_the_names_a_moved_file_would_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "new")
    CHANGES["a file has another place"](folder)
    note = output._note(folder)
    monkeypatch.setattr(output, "names_digest", lambda _: note.names)
    output_digests(folder)
