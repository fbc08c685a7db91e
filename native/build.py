"""Compiles the native library: each level's object file with its own flags, then one shared library.

    python native/build.py OUT_DIR

Used by the package's build hook, and by the tests for sanitizer runs and planted faults. Needs a C++17 compiler and nothing else: $CXX, or
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
FUZZ = ("-fsanitize=fuzzer", "-DCUSTODES_FUZZ")
MSVC_FLAGS = ("/std:c++17", "/O2", "/EHs-c-", "/GR-", "/fp:precise", "/nologo")
LEVEL_FLAGS = {
    "avx512": (
        "-mavx512f",
        "-mavx512dq",
        "-mavx512bw",
        "-mavx512vl",
        "-mavx512vpopcntdq",
        "-mavx512bitalg",
        "-mavx512vnni",
        "-mpopcnt",
        "-mbmi2",
    ),
    "avx2": ("-mavx2", "-mf16c", "-mpopcnt", "-mbmi2"),
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
        """Object files to a program, or a shared library. Raises ``BuildError``."""
        files = tuple(str(each) for each in objects)
        self._run((*options, f"/Fe{out}", *files) if self.msvc else (*options, "-o", str(out), *files))

    @property
    def shared(self) -> tuple[str, ...]:
        """The option that makes a shared library."""
        return ("/LD",) if self.msvc else ("-shared", *shlex.split(os.environ.get("ARCHFLAGS", "")))

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
    machine = machine or os.environ.get("ARCHFLAGS", "").rpartition("-arch ")[2] or platform.machine()
    if machine in X86:
        return ("avx512", "avx2", "baseline")
    return ("neon", "baseline") if machine in ARM else ("baseline",)


def library_name() -> str:
    """What the library is called here; ctypes opens it by path, so it needs no Python version in its name."""
    return {"win32": "_custodes.dll", "darwin": "_custodes.dylib"}.get(sys.platform, "_custodes.so")


@dataclass(frozen=True)
class Build:
    """What to compile, how, and for what machine."""

    source: Path = HERE
    sanitize: bool = False
    fuzz: bool = False  # with clang's libFuzzer
    quick: bool = False  # to compile; what comes of it is slow
    machine: str = ""

    def library(self, out_dir: Path) -> Path:
        """Compile the shared library into ``out_dir``; its path. Raises ``BuildError``."""
        out = out_dir / library_name()
        with tempfile.TemporaryDirectory() as name:
            written = Path(name) / out.name
            self._compiler.link(self.objects(Path(name)), written, self._compiler.shared)
            out_dir.mkdir(parents=True, exist_ok=True)
            aside = out.with_name(f".{out.name}.new")
            shutil.copyfile(written, aside)
            aside.replace(out)  # a process may have the old one mapped
        return out

    def check(self, program: str, objects: list[Path]) -> Path:
        """Compile check/``program``.cpp and link it with these kernels, beside them; its path. Raises ``BuildError``."""
        out = objects[0].with_name(program)
        main = out.with_suffix(".o")
        source = self.source / "check" / f"{program}.cpp"
        self._compiler.compile(source, main, (*self._flags, *WARNINGS, f"-I{self.source}"))
        self._compiler.link([*objects, main], out, self._flags)
        return out

    @property
    def _compiler(self) -> Compiler:
        return find_compiler()

    @property
    def _flags(self) -> tuple[str, ...]:
        if self._compiler.msvc:
            return MSVC_FLAGS
        architecture = tuple(shlex.split(os.environ.get("ARCHFLAGS", "")))  # how macOS wheels name theirs
        chosen = FLAGS + architecture + (SANITIZE if self.sanitize else ()) + (FUZZ if self.fuzz else ())
        chosen += ("-O0",) if self.quick else ()
        return (*chosen, "-DCUSTODES_BASELINE_ONLY") if levels(self.machine) == ("baseline",) else chosen

    @property
    def _strict(self) -> tuple[str, ...]:
        """Warnings are errors where the code is checked, not where a user installs it with a compiler of tomorrow."""
        return WARNINGS if self.sanitize else ()

    def objects(self, folder: Path) -> list[Path]:
        """Compile into ``folder`` the object files of the dispatch and of every level, side by side. Raises ``BuildError``."""
        level_flags = MSVC_LEVEL_FLAGS if self._compiler.msvc else LEVEL_FLAGS
        tasks = [("dispatch.cpp", folder / "dispatch.o", self._flags)]
        for level in levels(self.machine):
            options = (*level_flags[level], f"-DCUSTODES_LEVEL={level}", f"-DCUSTODES_{level.upper()}=1")
            tasks.append(("kernels.cpp", folder / f"{level}.o", (*self._flags, *self._strict, *options)))
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(self._compiler.compile, self.source / name, out, how) for name, out, how in tasks]
            for each in running:
                each.result()
        return [out for _, out, _ in tasks]


if __name__ == "__main__":
    print(Build().library(Path(sys.argv[1])))
