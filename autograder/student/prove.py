"""Prove by trying that the lock holds on this machine."""

import contextlib
import os
import platform
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cloudpickle

from autograder.errors import SandboxError
from autograder.student.attempts import ATTEMPTS
from autograder.student.limits import MB
from autograder.student.machine import ADVICE, require_full
from autograder.student.observe import Call, Observation
from autograder.student.probes import CallFunction
from autograder.student.process import Zygote

_MARK = "a-secret-of-the-grader"
#: How an attempt fails that is stopped; anything else is a mistake in the attempt, and proves nothing.
_STOPPED = {"PermissionError", "FileNotFoundError", "OSError", "BlockingIOError", "memory"}
_MEMORY, _FILES = 256 * MB, 4 * MB


@dataclass(frozen=True)
class Proof:
    """One promise, put to the test.

    Attributes
    ----------
    promise : what a submission cannot do
    held : whether it could not
    detail : how it was stopped, or what it got
    needed : whether the grader refuses to work without it; the others depend on namespaces
    """

    promise: str
    held: bool
    detail: str
    needed: bool = True


@dataclass(frozen=True)
class _Attempt:
    promise: str
    function: str
    args: tuple = ()
    needed: bool = True


def require(proofs: Iterable[Proof]) -> None:
    """Refuse to go on if a needed promise does not hold.

    Raises
    ------
    SandboxError
    """
    broken = [f"- {p.promise}: {p.detail}" for p in proofs if p.needed and not p.held]
    if broken:
        text = "The sandbox does not hold on this machine. A submission could break these promises:\n"
        raise SandboxError(text + "\n".join([*broken, ADVICE]))


def prove(zygote: Zygote | None = None) -> list[Proof]:
    """Try to break every promise from within a locked process, and tell which ones held.

    Parameters
    ----------
    zygote : whose forks are tried; by default one of its own, which takes seconds to start

    Raises
    ------
    SandboxError : the machine lacks what a lock is made of
    """
    require_full()
    with tempfile.TemporaryDirectory(prefix="course-") as course:
        secret = Path(course, "answers.py")
        secret.write_text(f"{_MARK} = 1\n")
        secret.chmod(0o666)  # so that only the lock can be what stops
        os.chmod(course, 0o777)
        guarded = subprocess.Popen(["/bin/sleep", "60"], env={"SECRET": _MARK}, start_new_session=True)
        try:
            with contextlib.nullcontext(zygote) if zygote else Zygote() as tried:
                return _try_all(tried, str(secret), guarded.pid)
        finally:
            guarded.kill()
            guarded.wait()


def _try_all(zygote: Zygote, secret: str, pid: int) -> list[Proof]:
    # a busy machine must not look like a broken promise
    limits = replace(zygote.limits, memory=_MEMORY, files=_FILES, cpu=20.0, cell=60.0, call=60.0, ask=300.0)
    clone = f"CLONE = {56 if platform.machine() == 'x86_64' else 220}\n"
    probe = cloudpickle.dumps(CallFunction("attempt"))
    attempts = _attempts(secret, pid)
    source = f"{clone}{ATTEMPTS}\ndef attempt(name, args):\n    return globals()[name](*args)\n"
    with (
        zygote.submission("", "open('mine', 'w').write('x')\nimport os\ndef place(): return os.getcwd()", name="neighbour") as neighbour,
        zygote.submission("", source, name="proof", limits=limits) as student,
    ):
        neighbour.load()
        place = neighbour.ask(cloudpickle.dumps(CallFunction("place")), [Call()])[0].value
        attempts += _against_neighbour(str(place), neighbour._pid)
        student.load()
        seen = student.ask(probe, [Call((a.function, a.args)) for a in attempts])
        proofs = [_proof(a, o) for a, o in zip(attempts, seen)]
    return [*proofs, _unchanged(secret), _ends(zygote)]


def _attempts(secret: str, pid: int) -> list[_Attempt]:
    inet, vsock, netlink, packet = 2, 40, 16, 17
    return [
        _Attempt("has no descriptor but its own", "descriptors"),
        _Attempt("cannot read the grader's environment", "environment", (_MARK,)),
        _Attempt("cannot read answers, nor the gradebook", "read", (secret,)),
        _Attempt("cannot read them through a link", "link", (secret,)),
        _Attempt("cannot list a folder of the course", "folder", (str(Path(secret).parent),)),
        _Attempt("cannot list the machine's folders", "folder", ("/",)),
        _Attempt("cannot read the list of users", "read", ("/etc/passwd",)),
        _Attempt("cannot even tell whether a file exists", "look", (secret,), needed=False),
        _Attempt("cannot write a file outside its work folder", "write", (secret,)),
        _Attempt("cannot empty a file that it cannot write", "truncate", (secret,)),
        _Attempt("cannot change Python or its packages", "write", (os.__file__,)),
        _Attempt("cannot share memory with others", "shared_memory"),
        _Attempt("has no network", "network", (inet, 1)),
        _Attempt("has no datagrams", "network", (inet, 2)),
        _Attempt("cannot reach local services", "network", (1, 1)),
        _Attempt("cannot reach the host of a virtual machine", "network", (vsock, 1)),
        _Attempt("cannot talk to the kernel's network", "network", (netlink, 3)),
        _Attempt("cannot send raw packets", "network", (packet, 3)),
        _Attempt("cannot run a program", "execute"),
        _Attempt("cannot start a process", "fork"),
        _Attempt("cannot start a process without the C library", "clone"),
        _Attempt("cannot signal another process", "send_signal", (pid,)),
        _Attempt("cannot signal its parent", "send_signal", (os.getpid(),)),
        _Attempt("cannot trace another process", "trace", (pid,)),
        _Attempt("cannot look into another process", "peek", (pid,)),
        _Attempt("cannot look into the grader", "peek", (os.getpid(),)),
        _Attempt("cannot look into itself from outside", "peek", ("self",)),
        _Attempt("cannot make namespaces", "namespace"),
        _Attempt("cannot reach the keyring", "syscall", (250 if platform.machine() == "x86_64" else 219, 0, -3, 0)),
        _Attempt("cannot use io_uring", "syscall", (425, 1, 0)),
        _Attempt("cannot load BPF", "syscall", (321 if platform.machine() == "x86_64" else 280, 0, 0, 0)),
        _Attempt("cannot take more memory than allowed", "memory", (2 * _MEMORY,)),
        _Attempt("cannot start threads without end", "threads", (0,)),
        _Attempt("cannot write a file larger than allowed", "fill", (2 * _FILES,)),
        _Attempt("cannot fill the disk with many files", "fill_many", (_FILES,), needed=False),
    ]  # fmt: skip


def _against_neighbour(place: str, pid: int) -> list[_Attempt]:
    return [
        _Attempt("cannot read another submission's files", "read", (f"{place}/mine",)),
        _Attempt("cannot list another submission's files", "folder", (place,)),
        _Attempt("cannot signal another submission", "send_signal", (pid,)),
    ]


def _proof(attempt: _Attempt, seen: Observation) -> Proof:
    held = seen.error in _STOPPED or (seen.error == "RuntimeError" and "thread" in seen.message)
    detail = str(seen.value) if seen.error is None else f"{seen.error}: {seen.message}"
    return Proof(attempt.promise, held, detail[:200], attempt.needed)


def _unchanged(secret: str) -> Proof:
    text = Path(secret).read_text()
    return Proof("has not changed a file of the course", text == f"{_MARK} = 1\n", f"it holds {text!r}")


def _ends(zygote: Zygote) -> Proof:
    """Whether a process that hangs and ignores signals ends with its time."""
    source = "import signal\nfor n in set(range(1, 32)) - {9, 19}:\n    signal.signal(n, signal.SIG_IGN)\nwhile True: pass"
    with zygote.submission("", source, name="proof", limits=replace(zygote.limits, cell=0.2)) as student:
        status = student.load().status
    return Proof("ends when its time is up", status == "time", f"{signal.Signals(9).name} after its time: {status}")
