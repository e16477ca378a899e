"""The zygote's memory, as forks find it."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autograder.student.libc import LIBC
from autograder.student.process import Zygote

_NEW_OBJECTS = """
from autograder.student.memory import arrange, fill, gather
gather()
import asyncio, json, unittest.mock
{first}
import collections
new = [bytes(size) for _ in range(5) for size in range(15, 480, 16)]
fullest = collections.Counter(id(one) >> 20 for one in new).most_common(2)
print(100 * sum(count for _, count in fullest) // len(new))
"""


_GATHERED = """
from autograder.student.memory import arrange, gather
import gc
before = {id(o) for o in gc.get_objects()}
gather()
import asyncio, json, unittest.mock
new = [id(o) for o in gc.get_objects() if id(o) not in before]
arrange()
heap = [line.split()[0].split("-") for line in open("/proc/self/maps") if "[heap]" in line]
start, end = int(heap[0][0], 16), int(heap[-1][1], 16)
rss = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
before = rss()
many = [[str(i)] for i in range(10**6)]
del many
print(sum(start <= address < end for address in new) / len(new), rss() - before)
"""


_FROM_THE_C_LIBRARY = """
from autograder.student.libc import LIBC
from autograder.student.memory import arrange, gather
gather()
import asyncio, json, unittest.mock
{first}
found = [LIBC.malloc(size) for _ in range(5) for size in range(24, 520, 16)]
print(len({{address >> 20 for address in found}}))
"""


def _printed(code: str) -> int:
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not hasattr(LIBC, "gnu_get_libc_version"), reason="another C library")
@pytest.mark.parametrize("first", ["fill()", "arrange()"])
def test_objects_of_every_size_lie_together_once_the_gaps_are_filled(first: str):
    percent_in_two_megabytes = [_printed(_NEW_OBJECTS.format(first=some)) for some in (first, "")]
    assert percent_in_two_megabytes[0] >= 90 > percent_in_two_megabytes[1]  # about 96 and 65


@pytest.mark.skipif(not hasattr(LIBC, "gnu_get_libc_version"), reason="another C library")
def test_what_the_c_library_hands_out_lies_together_too():
    assert _printed(_FROM_THE_C_LIBRARY.format(first="arrange()")) <= 2 < _printed(_FROM_THE_C_LIBRARY.format(first=""))


@pytest.mark.skipif(not hasattr(LIBC, "gnu_get_libc_version"), reason="another C library")
def test_what_is_imported_lies_in_the_heap_and_what_comes_later_is_given_back():
    done = subprocess.run([sys.executable, "-c", _GATHERED], capture_output=True, text=True, check=True)
    share_in_the_heap, megabytes_kept = map(float, done.stdout.split())
    assert share_in_the_heap > 0.8
    assert megabytes_kept < 40


def test_a_locked_zygote_is_mapped_in_fewer_pieces_than_its_libraries_have(locked: Zygote):
    files = [line.split()[-1] for line in Path(f"/proc/{_youngest(locked._process.pid)}/maps").read_text().splitlines() if ".so" in line]
    assert len(files) < 4 * len(set(files))  # five each, as they are loaded


def test_a_locked_zygote_lies_in_huge_pages(locked: Zygote):
    before = _memory_of(os.getpid())[1]
    with mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as room:
        room.madvise(mmap.MADV_HUGEPAGE)
        room.write(bytes(len(room)))
        if _memory_of(os.getpid())[1] - before < 60 << 10:
            pytest.skip("this machine has no huge pages to give")
    anonymous, huge = _memory_of(_youngest(locked._process.pid))
    assert huge > 0.6 * anonymous


def _memory_of(pid: int) -> tuple[int, int]:
    """Kilobytes of a process that are no file's, and those of them that lie in huge pages."""
    sizes = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return int(sizes["Anonymous"].split()[0]), int(sizes["AnonHugePages"].split()[0])


def _youngest(pid: int) -> int:
    """The process itself, or the child that goes on in its place in namespaces of its own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid
