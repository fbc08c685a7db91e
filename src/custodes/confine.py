"""Confinement of this process by the kernel, for good: resource limits, Landlock, a seccomp allow-list that kills, death with the parent.

Promises: what is taken is gone for good, and where the kernel refuses, ``JailError`` rises and nothing untrusted is touched (fail closed).
Three strengths: ``confine_decoder`` (compute and answer, nothing else), ``confine_carrier`` (network, no files but those named, no
writing), ``die_with_parent``. Who is confined when is for ``jail``, ``carrier`` and the workers to say.

Sources: kernel documentation, userspace-api/landlock.rst and userspace-api/seccomp_filter.rst; linux/seccomp.h, linux/audit.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from custodes.errors import JailError

__all__ = [
    "HINT",
    "LockedMemory",
    "confine_carrier",
    "confine_decoder",
    "die_with_parent",
    "keep_secrets",
    "landlock_abi",
]

HINT: Final = (
    "use a kernel with Landlock and seccomp (Linux 5.13 or later, both allowed in the container), or --unsafe-no-jail"
)
"""What to do where the kernel cannot confine."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_LANDLOCK_RULE_PATH_BENEATH: Final = 1
_LANDLOCK_READ_FILE, _LANDLOCK_READ_DIR = 1 << 2, 1 << 3
_SECCOMP_MODE_FILTER: Final = 2
_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000
_PROT_READ, _PROT_EXEC = 1, 4
_MAP_SHARED: Final = 1
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_NOBODY: Final = 65534
_CPU_S: Final = 24 * 3600


def confine_decoder(memory_bytes_max: int, *, parent: int, unsafe_no_jail: bool = False) -> None:
    """Confine this process for good: it keeps its open descriptors and may read, write, compute and end.

    The order matters: a change of user closes /proc/self and clears the death signal, Landlock needs a descriptor, and nothing works
    after the filter. Raises JailError if the kernel refuses.
    """
    space_bytes = _address_space_bytes() + memory_bytes_max
    _give_up_root()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    die_with_parent(parent)
    if not unsafe_no_jail:
        _only_read((), network=False)
    _limit_resources(space_bytes)
    if not unsafe_no_jail:
        _deny_calls()


def confine_carrier(readable: Sequence[str], *, unsafe_no_jail: bool = False) -> None:
    """Confine a process that fetches: it keeps the network, may read the system's libraries and ``readable``, and may write no file.

    Keys and lists lie in files that it cannot open: whoever takes it over finds the URLs in flight and no more. Raises JailError.
    """
    die_with_parent()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(limit, (0, 0))
    if not unsafe_no_jail:
        _only_read([*_system_paths(), *(path for path in readable if "://" not in path)], network=True)


def die_with_parent(parent: int | None = None) -> None:
    """End when the process that started this one ends, however it ends. Raises JailError if it has ended already."""
    expected = os.getppid() if parent is None else parent
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != expected:
        raise JailError("the parent ended before its child was ready")


def keep_secrets() -> None:
    """Whatever this process holds in memory reaches no core file, and no other process of the same user may read it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


class LockedMemory:
    """Shared memory kept in RAM while this object is open: none of its pages is written to swap. ``held`` says whether the kernel allowed it."""

    def __init__(self, descriptor: int) -> None:
        self._size_bytes = os.fstat(descriptor).st_size
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit[1], limit[1]))
        self._address = _libc.mmap(None, self._size_bytes, _PROT_READ, _MAP_SHARED, descriptor, 0)
        mapped = self._address not in (None, _MAP_FAILED)
        self.held = mapped and _libc.mlock(ctypes.c_void_p(self._address), ctypes.c_size_t(self._size_bytes)) == 0
        if mapped and not self.held:
            self.close()

    def close(self) -> None:
        """Give it up."""
        if self._address not in (None, _MAP_FAILED):
            _libc.munmap(ctypes.c_void_p(self._address), ctypes.c_size_t(self._size_bytes))
        self._address = None


def _check(result: int, what: str) -> int:
    if result < 0:
        raise JailError(f"{what} was refused: {os.strerror(ctypes.get_errno())}", hint=HINT)
    return result


def _prctl(option: int, *arguments: int) -> None:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    _check(_libc.prctl(option, *(ctypes.c_ulong(argument) for argument in padded)), f"prctl {option}")


# --- files: Landlock --------------------------------------------------------------------------------------------------


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 if it has none."""
    return max(0, int(_libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def _only_read(readable: Iterable[str], *, network: bool) -> None:
    """Give up every file but these, which may be read; without ``network`` also TCP, abstract sockets and signals to outside.

    What is open stays open (Landlock user guide). Paths that do not exist are passed over.
    """
    abi = landlock_abi()
    if abi < 1:
        raise JailError("the kernel has no Landlock", hint=HINT)
    files = 0x1FFF | (abi >= 2) << 13 | (abi >= 3) << 14 | (abi >= 5) << 15
    tcp, scope = (0, 0) if network else (0x3 * (abi >= 4), 0x3 * (abi >= 6))
    attributes = struct.pack("<QQQ", files, tcp, scope)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _check(
        _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0), "landlock"
    )
    for path in readable:
        _allow_reading(ruleset, path)
    _check(_libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0), "landlock")
    os.close(ruleset)


def _allow_reading(ruleset: int, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rights = _LANDLOCK_READ_FILE | (_LANDLOCK_READ_DIR if Path(path).is_dir() else 0)
    rule = struct.pack("<Qi", rights, descriptor)
    _check(_libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0), "landlock")
    os.close(descriptor)


def _system_paths() -> list[str]:
    """What a process that resolves names, speaks TLS and runs Python has to read: libraries, modules, certificates, resolver settings."""
    system = ["/etc", "/usr", "/lib", "/lib64", "/run/systemd/resolve", "/run/resolvconf", "/dev/null", "/dev/urandom"]
    certificates = [os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    return [*system, sys.prefix, sys.base_prefix, *filter(None, sys.path), *certificates]


# --- calls: seccomp ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Architecture:
    audit: int  # AUDIT_ARCH_*: without this check another ABI's numbers would mean other calls
    guarded: tuple[int, ...]  # mmap, mprotect: allowed unless executable
    allowed: tuple[int, ...]


# read write brk munmap mremap madvise futex clock_gettime gettimeofday getrandom getrusage sched_yield sched_getaffinity rseq
# rt_sigaction rt_sigprocmask rt_sigreturn restart_syscall exit exit_group
_ARCHITECTURES: Final = {
    "x86_64": _Architecture(
        0xC000003E, (9, 10), (0, 1, 12, 11, 25, 28, 202, 228, 96, 318, 98, 24, 204, 334, 13, 14, 15, 219, 60, 231)
    ),
    "aarch64": _Architecture(
        0xC00000B7,
        (222, 226),
        (63, 64, 214, 215, 216, 233, 98, 113, 169, 278, 165, 124, 123, 293, 134, 135, 139, 128, 93, 94),
    ),
}


def _filter_program() -> bytes:
    """The allow-list as classic BPF over struct seccomp_data: number at 0, architecture at 4, low half of the third argument at 32."""
    machine = _ARCHITECTURES.get(platform.machine())
    if machine is None or sys.byteorder != "little":
        raise JailError(f"no system call table for {platform.machine()}", hint=HINT)
    load, equal, bits, end = 0x20, 0x15, 0x45, 0x06
    out = [(load, 0, 0, 4), (equal, 1, 0, machine.audit), (end, 0, 0, _KILL_PROCESS), (load, 0, 0, 0)]
    for number in machine.allowed:
        out += [(equal, 0, 1, number), (end, 0, 0, _ALLOW)]
    for number in machine.guarded:
        out += [
            (equal, 0, 4, number),
            (load, 0, 0, 32),
            (bits, 0, 1, _PROT_EXEC),
            (end, 0, 0, _KILL_PROCESS),
            (end, 0, 0, _ALLOW),
        ]
    out.append((end, 0, 0, _KILL_PROCESS))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in out)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _deny_calls() -> None:
    code = _filter_program()
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


# --- resources and the user -------------------------------------------------------------------------------------------


def _address_space_bytes() -> int:
    with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123
        return int(statm.read().split()[0]) * resource.getpagesize()


def _limit_resources(space_bytes: int) -> None:
    limits = (
        (resource.RLIMIT_AS, space_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CPU, _CPU_S),
    )
    for limit, value in limits:
        resource.setrlimit(limit, (value, value))


def _give_up_root() -> None:
    """A decoder needs no user. Where a container maps no other user the call fails, and the confinement does not rest on it."""
    if os.geteuid() == 0:
        with suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def main() -> None:
    """Try out, in this process, whether a decoder can be confined here: says how, or why not."""
    said = f"landlock abi {landlock_abi()} + seccomp\n".encode()
    try:
        confine_decoder(64 << 20, parent=os.getppid())
    except (JailError, OSError, ValueError) as error:
        os.write(2, str(error).encode())
        os._exit(3)
    os.write(1, said)
    os._exit(0)
