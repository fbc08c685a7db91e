"""Compiles the native library: each level's object file with its own flags, then one shared library.

    python native/build.py OUT_DIR [--sanitize]

Used by the package's build hook, and by the sanitizer and fuzz runs. Needs a C++17 compiler and nothing else: $CXX, or
the first of c++, g++, clang++ (cl on Windows).
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
X86 = ("x86_64", "AMD64")
ARM = ("aarch64", "arm64", "ARM64")

# -ffp-contract=off: a fused multiply-add rounds once where NumPy rounds twice, and PDQ's bits must not depend on that.
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-exceptions", "-fno-rtti")
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror")
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
MSVC_FLAGS = ("/std:c++17", "/O2", "/EHs-c-", "/GR-", "/fp:precise", "/nologo")
LEVEL_FLAGS = {
    "avx512": ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx512vpopcntdq", "-mpopcnt", "-mbmi2"),
    "avx2": ("-mavx2", "-mpopcnt", "-mbmi2"),
    "baseline": (),
    "neon": (),
}
MSVC_LEVEL_FLAGS = {"avx512": ("/arch:AVX512",), "avx2": ("/arch:AVX2",), "baseline": (), "neon": ()}


class BuildError(Exception):
    """The library could not be built; the text says why."""


@dataclass(frozen=True)
class Compiler:
    """A command, and whether it speaks like cl."""

    command: tuple[str, ...]
    msvc: bool

    def compile(self, source: Path, out: Path, options: tuple[str, ...]) -> None:
        """One source file to one object file. Raises ``BuildError``."""
        self._run((*options, *((f"/Fo{out}", "/c") if self.msvc else ("-c", "-o", str(out))), str(source)))

    def link(self, objects: list[Path], out: Path, options: tuple[str, ...]) -> None:
        """Object files to a shared library. Raises ``BuildError``."""
        files = tuple(str(each) for each in objects)
        self._run((*options, "/LD", f"/Fe{out}", *files) if self.msvc else (*options, "-shared", "-o", str(out), *files))

    def _run(self, arguments: tuple[str, ...]) -> None:
        done = subprocess.run((*self.command, *arguments), capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise BuildError(f"{shlex.join((*self.command, *arguments))}\n{done.stdout}{done.stderr}")


def find_compiler() -> Compiler:
    """The compiler to use. Raises ``BuildError`` where there is none."""
    if os.environ.get("CXX"):
        command = tuple(shlex.split(os.environ["CXX"]))
        return Compiler(command, Path(command[0]).stem.lower() == "cl")
    for name in ("c++", "g++", "clang++", "cl"):
        if found := shutil.which(name):
            return Compiler((found,), name == "cl")
    raise BuildError("no C++ compiler was found: install one, or name it in CXX")


def levels(machine: str = "") -> tuple[str, ...]:
    """The levels that are compiled for a machine, the fastest first."""
    machine = machine or platform.machine()
    if machine in X86:
        return ("avx512", "avx2", "baseline")
    return ("neon", "baseline") if machine in ARM else ("baseline",)


def library_name() -> str:
    """What the library is called here; ctypes opens it by path, so it needs no Python version in its name."""
    return {"win32": "_custodes.dll", "darwin": "_custodes.dylib"}.get(sys.platform, "_custodes.so")


def build(out_dir: Path, *, sanitize: bool = False, machine: str = "") -> Path:
    """Compile and link into ``out_dir``; the path of the library. Raises ``BuildError``."""
    compiler = find_compiler()
    flags = MSVC_FLAGS if compiler.msvc else FLAGS + WARNINGS + (SANITIZE if sanitize else ())
    level_flags = MSVC_LEVEL_FLAGS if compiler.msvc else LEVEL_FLAGS
    out = out_dir / library_name()
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor() as pool:
        objects = [Path(name) / "dispatch.o"]
        running = [pool.submit(compiler.compile, HERE / "dispatch.cpp", objects[0], flags)]
        for level in levels(machine):
            objects.append(Path(name) / f"{level}.o")
            define = (f"-DCUSTODES_LEVEL={level}", f"-DCUSTODES_{level.upper()}=1")
            options = (*flags, *level_flags[level], *define)
            running.append(pool.submit(compiler.compile, HERE / "kernels.cpp", objects[-1], options))
        for each in running:
            each.result()
        written = Path(name) / out.name
        compiler.link(objects, written, SANITIZE if sanitize else ())
        out_dir.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(written, out.with_name(f".{out.name}.new"))
        out.with_name(f".{out.name}.new").replace(out)  # a process may have the old one mapped
    return out


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), sanitize="--sanitize" in sys.argv[2:]))  # noqa: T201
