"""Plays the transcripts beside this file: what one types, what comes back on either stream, how it ends.

A transcript holds files (`-- name --`, to the next line that begins with `-- ` or `$ `), and steps: `$ command`, the lines of standard
output, lines of standard error behind `2> `, the exit code in brackets where it is not 0. `...` stands for anything in a line, alone on
its line for any lines. Beside `custodes` there are `modes PATH…` (permissions), `copy A B`, `cut FILE BYTES`, `windows A B` (a text
as Windows saves it) and `digests FILE LIST` (a list that knows a file). Pictures lie ready: `tiles.png`, the same as `tiles.jpg`, and `waves.png`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from custodes.cli.main import main

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@dataclass
class Step:
    """A command with what it should say."""

    line: int
    command: str
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0


def parsed(text: str) -> tuple[dict[str, str], list[Step]]:
    """The files and the steps of a transcript."""
    files: dict[str, list[str]] = {}
    steps: list[Step] = []
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("$ "):
            steps.append(Step(number, line[2:]))
        elif line.startswith("-- ") and not steps:
            name = line.strip("- ")
            files[name] = []
        elif not steps and name:
            files[name].append(line)
        elif steps and (code := re.fullmatch(r"\[(\d+)\]", line)):
            steps[-1].code = int(code[1])
        elif steps and line.startswith("2> "):
            steps[-1].err.append(line[3:])
        elif steps and line and not line.startswith("#"):
            steps[-1].out.append(line)
    return {name: "".join(f"{line}\n" for line in lines).strip("\n") + "\n" for name, lines in files.items()}, steps


def fits(expected: list[str], said: str) -> bool:
    """Whether what was said is what was expected, empty lines aside."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else r"[^\n]*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in expected
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in said.splitlines() if line.strip())) is not None


def play(command: str) -> tuple[int, str, str]:
    """Exit code and both streams of a command."""
    name, *arguments = shlex.split(command)
    out, err = io.StringIO(), io.StringIO()
    if name != "custodes":
        return 0, AROUND[name](*arguments) or "", ""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def modes(*paths: str) -> str:
    found = [each for path in map(Path, paths) for each in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return "".join(f"{path.stat().st_mode & 0o777:o} {path}\n" for path in found)


def digests(file: str, name: str) -> None:
    md5 = hashlib.md5(Path(file).read_bytes()).hexdigest()
    Path(name).write_text(f"kind,value,id,category\nmd5,{md5},entry-1,stand-in-A\n")


AROUND = {
    "modes": modes,
    "copy": lambda old, new: (
        shutil.copytree(old, new) and None if Path(old).is_dir() else shutil.copy(old, new) and None
    ),
    "cut": lambda name, size: Path(name).write_bytes(Path(name).read_bytes()[: int(size)]) and None,
    "digests": digests,
    "windows": lambda old, new: Path(new).write_text("\ufeff" + Path(old).read_text(), newline="\r\n") and None,
}


def draw() -> None:
    """The pictures that lie ready."""
    y, x = np.mgrid[0:240, 0:320]
    tiles = np.stack([(x // 37 * 53 + y // 29 * 91) % 256, (x * 3 + y) % 256, (y // 41 * 77) % 256], -1)
    Image.fromarray(tiles.astype(np.uint8)).save("tiles.png")
    Image.fromarray(tiles.astype(np.uint8)).save("tiles.jpg", quality=90)
    waves = 127 + 60 * np.sin(x / 23 + np.cos(y / 31) * 2) + 60 * np.cos(y / 17)
    Image.fromarray(waves.astype(np.uint8)).save("waves.png")


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_what_one_types_gives_what_is_written(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, steps = parsed(path.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(
        "custodes.native.missing", str
    )  # whether kernels were built changes what is said, and nothing else
    draw()
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    assert steps
    for step in steps:
        code, out, err = play(step.command)
        said = f"{path.name}:{step.line}: {step.command}\n--- stdout\n{out}--- stderr\n{err}--- exit {code}"
        assert (fits(step.out, out), fits(step.err, err), code) == (True, True, step.code), said


def test_the_player_sees_a_planted_difference() -> None:
    assert fits(["one ... three", "...", "end"], "one two three\nx\ny\nend\n")
    assert not fits(["one"], "one\ntwo\n")
    assert not fits(["one ... three"], "one\ntwo three\n")
    assert not fits([], "a warning\n")


def test_the_version_says_what_is_lacking_where_there_are_no_kernels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("custodes.native.missing", lambda: "the native library was not built: no compiler")
    with contextlib.suppress(SystemExit):
        main(["--version"])
    assert "no compiler" in capsys.readouterr().out
