"""Arrange the zygote's memory so that forking it is cheap.

A fork copies one entry of the page table per page, and takes it down again. With pages of 2 MB in the place of 4 kB that takes a
fraction of the time.
"""

import ctypes
import gc
import sys
from pathlib import Path

from autograder.student.libc import LIBC

_HUGE = 1 << 21
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25
#: Python hands out objects of up to so many bytes from pools, a pool for each multiple of so many; and the head of a bytes object.
_SMALL, _STEP, _HEAD = 512, 16, 33
_LARGE, _MOST_GAPS = 1 << 20, 200_000
_filling: list[object] = []
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
#: How far ahead the heap grows while much is imported; how much is mapped apart, and given back, later; what Python cuts arenas into.
_AHEAD, _MAPPED, _BACK, _POOL = 320 << 20, 4 << 20, 16 << 20, 1 << 14


class _Arenas(ctypes.Structure):
    """Where Python takes its arenas of 1 MB from: PyObjectArenaAllocator of its C interface."""

    _fields_ = (("ctx", ctypes.c_void_p), ("alloc", ctypes.c_void_p), ("free", ctypes.c_void_p))


_pythons_own = _Arenas()


def gather() -> None:
    """Let everything that is imported from here on lie in one heap, until `arrange`. To be called before anything is imported.

    Python maps 1 MB at a time, wherever there is room between libraries: too little for a huge page. The C library's heap has them from
    the start (`Zygote` asks for it) if it grows by a large step. An arena is given back to nobody meanwhile: `labs` does nothing.
    """
    if not _is_glibc():
        return
    LIBC.malloc.argtypes, LIBC.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    LIBC.mallopt(_M_TOP_PAD, _AHEAD)
    LIBC.mallopt(_M_TRIM_THRESHOLD, _AHEAD)
    LIBC.mallopt(_M_MMAP_THRESHOLD, _MAPPED)
    ctypes.pythonapi.PyObject_GetArenaAllocator(ctypes.byref(_pythons_own))
    alloc, free = (ctypes.cast(function, ctypes.c_void_p) for function in (LIBC.aligned_alloc, LIBC.labs))
    ctypes.pythonapi.PyObject_SetArenaAllocator(ctypes.byref(_Arenas(_POOL, alloc, free)))  # aligned_alloc(_POOL, size)


def arrange() -> None:
    """Put in order what forks will share. The garbage collector looks at none of it from here on."""
    gc.collect()
    _fill_holes()
    gc.freeze()
    if _pythons_own.alloc:
        ctypes.pythonapi.PyObject_SetArenaAllocator(ctypes.byref(_pythons_own))
        LIBC.mallopt(_M_TOP_PAD, 0)
        LIBC.mallopt(_M_TRIM_THRESHOLD, _BACK)
        LIBC.malloc_trim(0)
    _compact()


def _is_glibc() -> bool:
    return sys.platform == "linux" and hasattr(LIBC, "gnu_get_libc_version")


def _fill_holes() -> None:
    """Use up the gaps between what was imported, so that the objects of a fork lie together.

    Otherwise each lies where there happens to be a gap of its size, and each page that is written to must be copied.
    """
    used = {id(o) >> 20 for o in gc.get_objects()}
    _filling.append(used)  # it would leave two gaps
    for size in range(_SMALL, _HEAD, -_STEP):
        filling = bytes(size - _HEAD)
        while id(filling) >> 20 in used:
            _filling.append(filling)
            filling = bytes(size - _HEAD)
    if _pythons_own.alloc:
        end = id(bytes(_LARGE))
        for size in (int(_LARGE / 1.2**k) for k in range(40)):  # down to what counts as small
            for _ in range(_MOST_GAPS):
                if id(filling := bytes(size)) > end:
                    break
                _filling.append(filling)
        for size in range(_SMALL + _STEP, 0, -_STEP):  # which the C library alone hands out
            while LIBC.malloc(size) < end:
                pass


def _compact() -> None:
    """Gather what is left in huge pages, where the machine has them."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    madvise = LIBC.madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in maps.read_text().splitlines():
        span, rights, *rest = line.split()
        if rights != "rw-p" or (len(rest) > 3 and rest[3] != "[heap]"):
            continue
        start, end = (int(edge, 16) for edge in span.split("-"))
        start, end = -(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE
        if start < end:
            madvise(start, end - start, _MADV_HUGEPAGE)
        for page in range(start, end, _HUGE):
            madvise(page, _HUGE, _MADV_COLLAPSE)
