"""Attempts to leave the jail, each in a child that confines itself first. Prints how each ended, as JSON.

Run as a program, because a forked child must not inherit the threads of a test runner. With ``--without-filter`` the seccomp filter is
left out: the planted fault that the suite must notice.
"""

# The attempts are system calls, so they are written as such.
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH116, PTH208, PTH211

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable

from custodes import confine

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
X86 = platform.machine() == "x86_64"
PARENT = os.getpid()
MEMORY_BYTES = 64 << 20


def call(x86: int, arm: int, *arguments: object) -> None:
    """A raw system call; OSError if it is refused."""
    typed = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    if libc.syscall(ctypes.c_long(x86 if X86 else arm), *typed) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def executable_memory() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def memory_made_executable() -> None:
    area = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    call(10, 226, address, 4096, 7)


def memory_bomb() -> None:
    blocks = [bytearray(16 << 20) for _ in range(MEMORY_BYTES // (16 << 20) + 4)]
    assert blocks


def another_abi() -> None:
    """x32 numbers on x86-64: the same architecture value, other calls."""
    call(0x40000000 | 39, 0x40000000 | 172)


buffer = ctypes.create_string_buffer(256)
ATTEMPTS: dict[str, Callable[[], object]] = {
    "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "read the memory of the parent": lambda: os.open(f"/proc/{PARENT}/mem", os.O_RDONLY),
    "read its own mappings": lambda: os.open("/proc/self/maps", os.O_RDONLY),
    "write a file": lambda: os.open("/tmp/escaped", os.O_WRONLY | os.O_CREAT),
    "open a device": lambda: os.open("/dev/null", os.O_RDONLY),
    "list a directory": lambda: os.listdir("/"),
    "look at a file": lambda: os.stat("/etc/passwd"),
    "make a directory": lambda: os.mkdir("/tmp/escaped.d"),
    "remove a file": lambda: os.unlink("/tmp/never-there"),
    "make a link": lambda: os.symlink("/etc/passwd", "/tmp/escaped.link"),
    "rename a file": lambda: os.rename("/tmp/never-there", "/tmp/escaped"),
    "change a mode": lambda: os.chmod("/tmp", 0o777),
    "leave its directory": lambda: os.chdir("/tmp"),
    "change its root": lambda: os.chroot("/"),
    "open a TCP socket": socket.socket,
    "open a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "open a UNIX socket": lambda: socket.socket(socket.AF_UNIX),
    "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "make a socket pair": socket.socketpair,
    "make a pipe": os.pipe,
    "duplicate a descriptor": lambda: os.dup(0),
    "fork": lambda: os.fork() or os._exit(42),
    "clone with new namespaces": lambda: call(56, 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0) or None,
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "trace the parent": lambda: call(101, 117, 16, PARENT, 0, 0),
    "be traced": lambda: call(101, 117, 0, 0, 0, 0),
    "signal the parent": lambda: os.kill(PARENT, 0),
    "signal a thread of the parent": lambda: call(234, 131, PARENT, PARENT, 0),
    "read memory of the parent": lambda: call(310, 270, PARENT, 0, 0, 0, 0, 0),
    "open a handle on the parent": lambda: call(434, 434, PARENT, 0),
    "make an anonymous file": lambda: os.memfd_create("x"),
    "map executable memory": executable_memory,
    "make memory executable": memory_made_executable,
    "set up io_uring": lambda: call(425, 425, 8, buffer),
    "load a BPF program": lambda: call(321, 280, 0, buffer, 72),
    "leave its namespaces": lambda: call(272, 97, 0x10000000),
    "mount": lambda: call(165, 40, b"none", b"/tmp", b"tmpfs", 0, 0),
    "unmount": lambda: call(166, 39, b"/proc", 0),
    "catch page faults": lambda: call(323, 282, 0),
    "share memory": lambda: call(29, 194, 0, 4096, 0o1600),
    "queue messages": lambda: call(68, 186, 0, 0o1600),
    "become another user": lambda: os.setuid(0),
    "change its limits": lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    "open performance counters": lambda: call(298, 241, buffer, 0, -1, -1, 0),
    "add a key": lambda: call(248, 217, b"user", b"x", b"y", 1, -2),
    "load a module": lambda: call(175, 105, buffer, 1, b""),
    "reboot": lambda: call(169, 142, 0, 0, 0, 0),
    "set the clock": lambda: call(227, 112, 0, struct.pack("qq", 0, 0)),
    "set the host name": lambda: call(170, 161, b"x", 1),
    "undo the death signal": lambda: call(157, 167, 1, 0, 0, 0, 0),
    "allow core dumps": lambda: call(157, 167, 4, 1, 0, 0, 0),
    "sleep": lambda: call(230, 115, 0, 0, struct.pack("qq", 0, 1), 0),
    "use a terminal call": lambda: call(16, 29, 0, 0x5413, buffer),
    "take more memory than its limit": memory_bomb,
    "call by another ABI": another_abi,
}
ALLOWED: dict[str, Callable[[], object]] = {
    "compute": lambda: sum(range(1000)),
    "take memory within its limit": lambda: bytearray(16 << 20),
    "write to what it has open": lambda: os.write(1, b""),
}


def ended(attempt: Callable[[], object], *, unsafe: bool = False) -> str:
    """How a confined child's attempt ended: escaped, refused, killed, or unconfined."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            confine.confine_decoder(MEMORY_BYTES, parent=PARENT, unsafe_no_jail=unsafe)
            code = 1
            attempt()
            code = 0
        except (OSError, MemoryError):
            code = 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "killed" if os.WTERMSIG(status) == signal.SIGSYS else f"signal {os.WTERMSIG(status)}"
    return {0: "escaped", 1: "refused", 3: "unconfined"}.get(os.WEXITSTATUS(status), "escaped")


def main() -> None:
    if "--without-filter" in sys.argv:
        confine._deny_calls = lambda: None
    result = {name: ended(attempt) for name, attempt in {**ATTEMPTS, **ALLOWED}.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
