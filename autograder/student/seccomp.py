"""A seccomp filter: the system calls that a locked process may make.

The filter is written here, instruction by instruction, so that it needs no library: `libseccomp` is missing on many learners' machines.
"""

import ctypes
import errno
import functools
import os
import platform
import struct

from autograder.errors import SandboxError
from autograder.student.libc import LIBC
from autograder.student.syscalls import ABSENT, ALLOWED, FILTERED, PRETENDED

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column in the tables, AUDIT_ARCH
_LD, _JA, _JEQ, _JGE, _JSET, _RET = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _ARGS = 0, 4, 16

_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020000 | 0x80  # every CLONE_NEW… flag
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032, 1034)  # dup, flags, locks, pipe size; not F_SETOWN, F_SETSIG, F_NOTIFY
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal, how much to read, blocking, close-on-exec
_PRCTL = (3, 15, 16, 0x53564D41)  # get dumpable, thread names, names of memory
_AF_UNIX = 1
_X32 = 0x40000000  # on x86_64, calls numbered from here are a second door to everything
_STEP = struct.Struct("<HBBI")
_FARTHEST = 255  # instructions that a conditional jump can pass over
_PID = 0x5E1F5E1F  # stands for the process itself until it is known
Block = list[tuple[int, int, int, int]]


def install(pid: int) -> None:
    """Put the filter on this thread and all it will start. `pid`: the one process that may be signalled, this one.

    Raises
    ------
    SandboxError : the machine has no seccomp filters
    """
    program, own = compiled()
    for place in own:
        struct.pack_into("<I", program, place, pid)
    fprog = struct.pack("@HP", len(program) // _STEP.size, ctypes.addressof(program))
    if LIBC.prctl(22, 2, fprog, 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise SandboxError(f"seccomp: {os.strerror(ctypes.get_errno())}")


def supported() -> bool:
    """Whether this kernel has filters and this machine has a table of call numbers."""
    LIBC.prctl(22, 2, None, 0, 0)
    return platform.machine() in _MACHINES and ctypes.get_errno() == errno.EFAULT  # a filter at no address


@functools.cache
def compiled() -> tuple[ctypes.Array, list[int]]:
    """The program, and the places in it where a process's own number belongs. The zygote makes it once for all its forks."""
    steps = _program()
    program = b"".join(_STEP.pack(*step) for step in steps)
    own = [i * _STEP.size + 4 for i, (_, _, _, value) in enumerate(steps) if value == _PID]
    return ctypes.create_string_buffer(program, len(program)), own


def _program() -> Block:
    column, arch = _MACHINES[platform.machine()]
    blocks: dict[str, Block] = _filters()
    blocks |= {name: [_no(0)] for name in PRETENDED}
    blocks |= {name: [_no(errno.ENOSYS)] for name in ABSENT}
    blocks |= {name: [(_RET, 0, 0, _ALLOW)] for name in ALLOWED}
    numbers = FILTERED | PRETENDED | ABSENT | ALLOWED
    by_number = {numbers[name][column]: block for name, block in blocks.items() if numbers[name][column] is not None}
    if column == 0:
        by_number[_X32] = [_no(errno.ENOSYS)]
    start = [(_LD, 0, 0, _ARCH), (_JEQ, 1, 0, arch), (_RET, 0, 0, _KILL), (_LD, 0, 0, _NUMBER)]
    return [*start, *_search(_runs(by_number))]


def _runs(by_number: dict[int, Block]) -> list[tuple[int, Block]]:
    """From which number on which block holds, until the next one begins: `by_number`, and a refusal for all numbers between."""
    runs: list[tuple[int, Block]] = []
    for number in sorted({0} | set(by_number) | {n + 1 for n in by_number if n != _X32}):
        block = by_number.get(number, [_no(errno.EPERM)])
        if not runs or runs[-1][1] != block:
            runs.append((number, block))
    return runs


def _search(runs: list[tuple[int, Block]]) -> Block:
    """Find a number's block by halving. The kernel tries a filter on every number when it is installed: one by one takes it longer."""
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    low, high, first = _search(runs[:middle]), _search(runs[middle:]), runs[middle][0]
    jump = [(_JGE, len(low), 0, first)] if len(low) <= _FARTHEST else [(_JGE, 0, 1, first), (_JA, 0, 0, len(low))]
    return [*jump, *low, *high]


def _filters() -> dict[str, Block]:
    own = _one_of(0, (_PID,), errno.EPERM)
    return {
        "clone": [
            _arg(0),
            (_JSET, 0, 1, _CLONE_NEW),
            _no(errno.EPERM),
            (_JSET, 0, 1, _CLONE_THREAD),
            (_RET, 0, 0, _ALLOW),
            _no(errno.EPERM),
        ],
        "kill": own,
        "tgkill": own,
        "tkill": own,  # of a process that never was more than its first thread
        "fcntl": _one_of(1, _FCNTL, errno.EPERM),
        "ioctl": _one_of(1, _IOCTL, errno.ENOTTY),
        "prctl": _one_of(0, _PRCTL, errno.EPERM),
        "prlimit64": _one_of(0, (0, _PID), errno.EPERM),
        "sendto": [_arg(4), (_JEQ, 1, 0, 0), _no(errno.EPERM), _arg(4, high=True), (_JEQ, 1, 0, 0), _no(errno.EPERM), (_RET, 0, 0, _ALLOW)],
        "socketpair": _one_of(0, (_AF_UNIX,), errno.EPERM),
    }


def _one_of(index: int, values: tuple[int, ...], otherwise: int) -> Block:
    """Allow the call if the low half of an argument is one of `values`."""
    tests = [(_JEQ, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [_arg(index), *tests, _no(otherwise), (_RET, 0, 0, _ALLOW)]


def _arg(index: int, *, high: bool = False) -> tuple[int, int, int, int]:
    return (_LD, 0, 0, _ARGS + 8 * index + 4 * high)


def _no(number: int) -> tuple[int, int, int, int]:
    return (_RET, 0, 0, _ERRNO | number)
