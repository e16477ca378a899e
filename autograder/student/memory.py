"""Arrange the zygote's memory so that forking it is cheap."""

import ctypes
from pathlib import Path

from autograder.student.libc import LIBC

_HUGE = 1 << 21
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25


def compact() -> None:
    """Gather this process's memory in huge pages, where the machine has them.

    A fork copies one entry of the page table per page. With pages of 2 MB in the place of 4 kB it takes a third of the time.
    """
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
