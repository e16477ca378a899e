"""Arrange the zygote's memory so that forking it is cheap.

A fork copies one entry of the page table per page, and takes it down again. With pages of 2 MB in the place of 4 kB that takes a
fraction of the time, as long as it writes to few of them. It copies a record for each mapping, too.
"""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from autograder.student.libc import LIBC

_HUGE = 1 << 21
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25
_PROTECTION = {"r-xp": 5, "rw-p": 3}
#: Python hands out objects of up to so many bytes from pools, a pool for each multiple of so many; the C library has a list of free
#: pieces for each multiple up to `_LISTED`.
_SMALL, _LISTED, _STEP = 512, 1040, 16
_LARGE, _MOST_GAPS = 1 << 20, 50_000
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
#: How far ahead the heap grows while much is imported; how much is mapped apart, and given back, later; what Python cuts arenas into.
_AHEAD, _MAPPED, _BACK, _POOL = 320 << 20, 4 << 20, 16 << 20, 1 << 14


class _Arenas(ctypes.Structure):
    """Where Python takes its arenas of 1 MB from: PyObjectArenaAllocator of its C interface."""

    _fields_ = (("ctx", ctypes.c_void_p), ("alloc", ctypes.c_void_p), ("free", ctypes.c_void_p))


_pythons_own = _Arenas()
for _change in (LIBC.madvise, LIBC.mprotect):
    _change.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def gather() -> None:
    """Let everything that is imported from here on lie in one heap, until `arrange`. To be called before anything is imported.

    Python maps 1 MB at a time, wherever there is room between libraries: too little for a huge page. The C library's heap has them from
    the start (`Zygote` asks for it) if it grows by a large step. An arena is given back to nobody meanwhile: `labs` does nothing.
    """
    if not (sys.platform == "linux" and hasattr(LIBC, "gnu_get_libc_version")):
        return
    for function in (LIBC.malloc, LIBC.sbrk, ctypes.pythonapi.PyObject_Malloc):
        function.argtypes, function.restype = [ctypes.c_size_t], ctypes.c_void_p
    LIBC.free.argtypes, LIBC.free.restype = [ctypes.c_void_p], None
    LIBC.mallopt(_M_TOP_PAD, _AHEAD)
    LIBC.mallopt(_M_TRIM_THRESHOLD, _AHEAD)
    LIBC.mallopt(_M_MMAP_THRESHOLD, _MAPPED)
    ctypes.pythonapi.PyObject_GetArenaAllocator(ctypes.byref(_pythons_own))
    alloc, free = (ctypes.cast(function, ctypes.c_void_p) for function in (LIBC.aligned_alloc, LIBC.labs))
    ctypes.pythonapi.PyObject_SetArenaAllocator(ctypes.byref(_Arenas(_POOL, alloc, free)))  # aligned_alloc(_POOL, size)


def fill() -> None:
    """Use up the gaps between what was imported, so that what comes next lies together. What is taken is given back to nobody.

    Otherwise each object lies where there happens to be a gap of its size, and each page that is written to must be copied.
    """
    gc.collect()
    if not _pythons_own.alloc:
        return
    end, top = LIBC.malloc(_MAPPED - _POOL), LIBC.sbrk(0)  # more than any gap: so much lies at the end
    LIBC.free(end)
    if not end < top - _BACK:  # no room behind it
        return
    for size in (*(int(_LARGE / 1.2**k) for k in range(38)), *range(_LISTED, 0, -_STEP)):
        LIBC.free(_first_behind(end, top, LIBC.malloc, size))
    for size in range(_SMALL, 0, -_STEP):
        if not _first_behind(end, top, ctypes.pythonapi.PyObject_Malloc, size):
            break  # this Python does not take its memory from there


def _first_behind(end: int, top: int, allocate: Callable[[int], int | None], size: int) -> int | None:
    """Allocate until it is behind the `end` of what is there, and give that address; None if it never is."""
    addresses = (allocate(size) for _ in range(_MOST_GAPS))
    return next((address for address in addresses if address and end <= address < top), None)


def arrange() -> None:
    """Put in order what forks will share. The garbage collector looks at none of it from here on."""
    fill()
    gc.freeze()
    if _pythons_own.alloc:
        ctypes.pythonapi.PyObject_SetArenaAllocator(ctypes.byref(_pythons_own))
        LIBC.mallopt(_M_TOP_PAD, 0)
        LIBC.mallopt(_M_TRIM_THRESHOLD, _BACK)
        LIBC.malloc_trim(0)
    if sys.platform == "linux":
        _join()
        _compact()


class _Mapping(NamedTuple):
    """A line of /proc/self/maps: addresses, `r-xp` and the like, where in its file it begins, and the file."""

    start: int
    end: int
    rights: str
    offset: int
    file: str

    def beside(self, later: "_Mapping") -> bool:
        """Whether one mapping could hold both."""
        return (self.file, self.end, self.offset + self.end - self.start) == (later.file, later.start, later.offset)


def _mappings() -> Iterator[_Mapping]:
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, offset, _, _, *file = line.split(None, 5)
        yield _Mapping(*(int(edge, 16) for edge in span.split("-")), rights, int(offset, 16), file[0] if file else "")


def _join() -> None:
    """Give the read-only parts of a library the rights of the part beside them: the kernel makes one mapping of two that are alike.

    A library has five, and a process like this 500 in all. Who wants to do harm has more rights than that already.
    """
    before: _Mapping | None = None
    for part in _mappings():
        if before and part.file.startswith("/") and before.beside(part):
            part = _joined(before, part)
        before = part


def _joined(first: _Mapping, second: _Mapping) -> _Mapping:
    for part, other in ((first, second), (second, first)):
        protection = _PROTECTION.get(other.rights)
        if part.rights == "r--p" and protection and LIBC.mprotect(part.start, part.end - part.start, protection) == 0:
            return second._replace(rights=other.rights)
    return second


def _compact() -> None:
    """Gather what is left in huge pages, where the machine has them."""
    for part in _mappings():
        if part.rights not in ("rw-p", "rwxp") or part.file not in ("", "[heap]"):
            continue
        start, end = -(-part.start // _HUGE) * _HUGE, part.end // _HUGE * _HUGE
        if start < end:
            LIBC.madvise(start, end - start, _MADV_HUGEPAGE)
        for page in range(start, end, _HUGE):
            LIBC.madvise(page, _HUGE, _MADV_COLLAPSE)
