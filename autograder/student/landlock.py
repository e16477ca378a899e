"""Landlock: the files that a locked process may reach. Plain system calls through ctypes; no root needed."""

import ctypes
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


def abi() -> int:
    """The version that the kernel offers; 0 where there is none."""
    return max(0, LIBC.syscall(_CREATE, None, 0, 1))


def restrict(readable: Iterable[str], devices: Iterable[str], work: str) -> None:
    """Give up every file but `readable` (folders with all below them), `devices` (read and write) and the folder `work`.

    Also given up, where the kernel knows them: TCP, abstract sockets and signals to processes outside, ioctls on devices.

    Raises
    ------
    SandboxError : the kernel refuses
    """
    version = abi()
    rights = (1 << _KNOWN_RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("<QQQ", rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _call(_CREATE, attributes, size, 0)
    for path in readable:
        _allow(ruleset, path, _READ & rights)
    for path in devices:
        _allow(ruleset, path, (_READ_FILE | _WRITE_FILE) & rights)
    _allow(ruleset, work, (_WORK | _REFER) & rights)
    _call(_RESTRICT, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there need not be allowed
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FILE
        _call(_ADD, ruleset, 1, struct.pack("<Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *args: object) -> int:
    result = LIBC.syscall(number, *args)
    if result < 0:
        raise SandboxError(f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result
