"""Landlock: the files that a locked process may reach. Plain system calls through ctypes; no root needed."""

import contextlib
import ctypes
import functools
import os
import stat
import struct
from collections.abc import Iterable

from autograder.errors import SandboxError
from autograder.student.libc import LIBC

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every machine
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << n for n in (1, 2, 3, 4, 5))
_MAKE_DIR, _MAKE_REG, _REFER, _TRUNCATE = 1 << 7, 1 << 8, 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_DIR
_WORK = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE
_FILE = _WRITE_FILE | _READ_FILE | _TRUNCATE
_KNOWN_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # ABI → how many file rights it has


@functools.cache
def abi() -> int:
    """The version that the kernel offers; 0 where there is none."""
    return max(0, LIBC.syscall(_CREATE, None, 0, 1))


def opened(readable: Iterable[str], devices: Iterable[str]) -> tuple[bytes, ...]:
    """Rules that allow `readable` (folders with all below them) and `devices` (read and write), for every process that is to be locked.

    What they are about stays open, so that no process has to look for it again.
    """
    rules = []
    for path, rights in [*((path, _READ) for path in readable), *((path, _READ_FILE | _WRITE_FILE) for path in devices)]:
        with contextlib.suppress(OSError):  # what is not there need not be allowed
            rules.append(_rule(path, rights))
    return tuple(rules)


def ruleset(rules: Iterable[bytes], work: str) -> int:
    """A descriptor for what `rules` allow, and the folder `work`.

    Raises
    ------
    SandboxError : the kernel refuses
    """
    attributes = struct.pack("<QQQ", _all_rights(), 3 if abi() >= 4 else 0, 3 if abi() >= 6 else 0)
    size = 24 if abi() >= 6 else 16 if abi() >= 4 else 8
    found = _call(_CREATE, attributes, size, 0)
    for rule in (*rules, _rule(work, _WORK | _REFER)):
        _call(_ADD, found, 1, rule, 0)
    return found


def restrict(descriptor: int) -> None:
    """Give up every file that a ruleset does not allow, and close it.

    Also given up, where the kernel knows them: TCP, abstract sockets and signals to processes outside, ioctls on devices.

    Raises
    ------
    SandboxError : the kernel refuses
    """
    _call(_RESTRICT, descriptor, 0)
    os.close(descriptor)


def _all_rights() -> int:
    return (1 << _KNOWN_RIGHTS.get(abi(), 16)) - 1


def _rule(path: str, rights: int) -> bytes:
    """A folder or a file, opened, and what may be done with it."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= _FILE
    return struct.pack("<Qi", rights & _all_rights(), descriptor)


def _call(number: int, *args: object) -> int:
    result = LIBC.syscall(number, *args)
    if result < 0:
        raise SandboxError(f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result
