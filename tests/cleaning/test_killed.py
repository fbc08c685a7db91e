"""Killed at any point there is no folder, or the whole one; and whoever starts again gets what would have been."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from custodes.cleaning import writing
from custodes.cleaning.job import write_dataset
from custodes.cleaning.mask import Choice, Leaving
from custodes.cleaning.writing import Note, make_whole_folder
from custodes.crypto.keys import RunKey
from custodes.errors import InputError, StorageError
from custodes.sources.base import Plan
from tests.cleaning.making import going, made, seen

KEY = RunKey(bytes(range(32)))
NOTE = Note(format="f", tool="t", dataset="d", rows=1, left=0, crowd=2, reasons=(), tag="t")


def half(planned: Plan) -> Leaving:
    left = np.arange(planned.rows) % 2 == 0
    return going(left)


def killed_at(step: int, planned: Plan, out: Path) -> bool:
    """Write in another process, which ends as by ``kill -9`` before its ``step``-th dealing with files; whether it came so far."""
    child = os.fork()
    if not child:
        left = step

        def hook(event: str, _: object) -> None:
            nonlocal left
            if event in ("open", "os.rename", "os.mkdir", "os.remove"):
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            sys.addaudithook(hook)
            write_dataset(planned, half(planned), Choice(), out, KEY)
            code = 0
        finally:
            os._exit(code)  # never back into the tests
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("form", ["parquet", "parquet images", "csv", "jsonl", "tar", "img2dataset", "folder"])
def test_killed_at_any_point_there_is_none_or_the_whole_and_it_goes_on(tmp_path: Path, form: str) -> None:
    planned = made(tmp_path / "old", form, 5)
    write_dataset(planned, half(planned), Choice(), tmp_path / "whole", KEY)
    wanted, out, step = seen_bytes(tmp_path / "whole"), tmp_path / "new", 1
    while killed_at(step, planned, out):
        assert not out.exists() or seen_bytes(out) == wanted
        step += 1
        if (
            step % 3 == 0 and not out.exists()
        ):  # gone on with from here; else begun anew over what the earlier ones left
            write_dataset(planned, half(planned), Choice(), out, KEY)
            assert seen_bytes(out) == wanted
            out.rename(tmp_path / f"kept {step}")
    assert seen_bytes(out) == wanted
    assert step > 10
    assert seen(out) == seen(tmp_path / "whole")


def test_were_files_written_under_their_names_a_half_one_would_pass_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = made(tmp_path / "old", "csv", 5)
    write_dataset(planned, half(planned), Choice(), tmp_path / "whole", KEY)
    monkeypatch.setattr(writing, "whole", lambda path: path.open("wb"))
    halves = 0
    for step in range(1, 40):
        out = tmp_path / f"new {step}"
        if killed_at(step, planned, out):
            write_dataset(planned, half(planned), Choice(), out, KEY)
            halves += seen_bytes(out) != seen_bytes(tmp_path / "whole")
    assert halves


def seen_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_made_already_is_left_and_anything_else_is_refused(tmp_path: Path) -> None:
    planned = made(tmp_path / "old", "csv", 5)
    out = tmp_path / "new"
    for _ in range(2):
        write_dataset(planned, half(planned), Choice(), out, KEY)
    none = np.zeros(planned.rows, dtype=np.bool_)
    with pytest.raises(InputError, match="is there already"):
        write_dataset(planned, going(none), Choice(), out, KEY)
    out.rename(tmp_path / "new.unfinished")
    with pytest.raises(InputError, match="was begun with another"):
        write_dataset(planned, going(none), Choice(), out, KEY)
    (tmp_path / "new.unfinished").rename(out)
    (out / "cleaning.json").unlink()
    with pytest.raises(InputError, match="is there already"):
        write_dataset(planned, half(planned), Choice(), out, KEY)


def test_files_that_are_whole_are_not_made_again_and_a_half_one_is(tmp_path: Path) -> None:
    def stops(_: object) -> None:
        raise OSError(28, "No space left on device")

    calls: list[str] = []

    def makes(name: str):  # type: ignore[no-untyped-def]
        return lambda file: (calls.append(name), file.write(name.encode()))

    with pytest.raises(StorageError, match="No space left"):
        make_whole_folder(tmp_path / "new", NOTE, {"a": makes("a"), "below/b": stops})
    assert not (tmp_path / "new").exists()
    (tmp_path / "new.unfinished" / "below" / ".custodes.aside").write_bytes(b"half of what is longer")
    make_whole_folder(tmp_path / "new", NOTE, {"a": makes("a"), "below/b": makes("b")})
    assert calls == ["a", "b"]
    assert seen_bytes(tmp_path / "new").keys() == {"a", "below/b", "cleaning.json"}
    assert (tmp_path / "new" / "below" / "b").read_bytes() == b"b"
