"""The filter's program does what its tables say, on every machine for which it is written."""

import errno
import platform
from collections.abc import Sequence

import pytest

from autograder.student import seccomp
from autograder.student.syscalls import ABSENT, ALLOWED, FILTERED, PRETENDED

ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LIMIT = 4096  # instructions that the kernel takes


def run(program: Sequence[tuple[int, int, int, int]], number: int, arch: int, arguments: Sequence[int] = (0,) * 6) -> tuple[int, int]:
    """What the filter says to a call, and after how many steps."""
    words = {0: number, 4: arch} | {16 + 8 * i: a & 0xFFFFFFFF for i, a in enumerate(arguments)}
    words |= {20 + 8 * i: a >> 32 for i, a in enumerate(arguments)}
    at = loaded = steps = 0
    while True:
        steps += 1
        code, true, false, value = program[at]
        at += 1
        if code == 0x06:  # return
            return value, steps
        if code == 0x20:  # load
            loaded = words[value]
        elif code == 0x05:  # jump
            at += value
        else:
            at += true if {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code] else false


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[list, int, int]:
    """A program, and the column of the tables and the architecture for which it is."""
    monkeypatch.setattr(platform, "machine", lambda: request.param)
    return seccomp._program(), *seccomp._MACHINES[request.param]


def test_every_call_gets_what_its_table_says(machine: tuple[list, int, int]) -> None:
    program, column, arch = machine
    known = set()
    for table, answer in ((ALLOWED, ALLOW), (PRETENDED, REFUSE), (ABSENT, REFUSE | errno.ENOSYS)):
        for name, numbers in table.items():
            if numbers[column] is not None:
                known.add(numbers[column])
                assert run(program, numbers[column], arch)[0] == answer, name
    known |= {numbers[column] for numbers in FILTERED.values()}
    for number in {*range(1000), 0x3FFFFFFF} - known:
        assert run(program, number, arch)[0] == REFUSE | errno.EPERM, number


def test_arguments_are_looked_at(machine: tuple[list, int, int]) -> None:
    program, column, arch = machine
    clone, kill, socketpair = (FILTERED[name][column] for name in ("clone", "kill", "socketpair"))
    thread, namespace, own = 0x00010000, 0x10000000, seccomp._PID
    asked = [(clone, thread), (clone, 0), (clone, thread | namespace), (kill, own), (kill, 1), (socketpair, 1), (socketpair, 2)]
    answers = [run(program, number, arch, [first, *[0] * 5])[0] for number, first in asked]
    no = REFUSE | errno.EPERM
    assert answers == [ALLOW, no, no, ALLOW, no, ALLOW, no]


def test_calls_of_another_kind_of_machine_are_stopped(machine: tuple[list, int, int]) -> None:
    program, column, arch = machine
    assert run(program, 0, arch ^ 1)[0] == KILL
    second_door = run(program, 0x40000000 | ALLOWED["read"][0], arch)[0]
    assert second_door == REFUSE | (errno.ENOSYS if column == 0 else errno.EPERM)


def test_a_call_is_found_in_few_steps(machine: tuple[list, int, int]) -> None:
    program, _, arch = machine
    assert len(program) < LIMIT
    assert max(run(program, number, arch)[1] for number in range(500)) < 32
