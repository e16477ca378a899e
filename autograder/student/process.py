"""The judge's side of a submission's process."""

import contextlib
import json
import math
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autograder.errors import SandboxError, WireError
from autograder.student.channel import Channel, Ended, TimeUp
from autograder.student.limits import DEFAULTS, MAX_REQUEST, Limits
from autograder.student.machine import require_full
from autograder.student.observe import Call, Observation
from autograder.student.oracle import Budget, consult, without_tensors
from autograder.student.outcome import CellOutcome
from autograder.student.replies import Lost, lost, observation, outcome
from autograder.student.travel import Packed, pack

#: How many calls of one question may hang or die before the rest is not tried any more; and of all questions together.
MAX_LOSSES = 2
MAX_LOSSES_OF_ALL = 4
#: What of a task the zygote prepares once for all forks: a set-up cell of so many bytes, so many forbidden functions.
MAX_SETUP, MOST_FORBIDDEN = 8000, 100
_START_SECONDS = 120
_PREFIX, _STALE_SECONDS = "student-process-", 7 * 86400
_START = """
from autograder.student import forks, memory
forks.hold(), memory.gather()
import sys
from autograder.student.start import main
main(sys.argv[1:])
"""
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "MPLCONFIGDIR", "XDG_CACHE_HOME", "VIRTUAL_ENV", "CONDA_PREFIX")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: Huge pages make a fork three times cheaper (see memory.py). The hash seed: the same scores on every run.
_TUNING = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "PYTHONHASHSEED": "0"}


class Zygote:
    """A warmed process that forks one locked child per submission.

    Parameters
    ----------
    limits : of every submission that names no others
    sandbox : "full" locks every fork in and refuses where that is impossible; "none" only separates the processes
    hidden : folders that no submission may read, besides the course's; refuses if they lie among those that Python needs
    imports : modules that set-up cells import and that take long, such as "sklearn.datasets"; by default what most exercises use
    namespaces : use them where the machine grants them; without, Landlock and seccomp hold alone

    Raises
    ------
    SandboxError : this machine cannot hold what "full" promises; on first use, if the process did not start

    Examples
    --------
    >>> with Zygote(sandbox="none") as zygote, zygote.submission("", "def double(x): return 2 * x", name="demo.double") as student:
    ...     student.load().status
    'ok'
    """

    def __init__(
        self,
        *,
        limits: Limits = DEFAULTS,
        sandbox: str = "full",
        hidden: Sequence[str] = (),
        imports: Sequence[str] = (),
        namespaces: bool = True,
    ) -> None:
        if sandbox not in ("full", "none"):
            raise SandboxError(f"There is no sandbox {sandbox!r}: it is 'full' or 'none'.")
        if sandbox == "full":
            require_full()
        self.limits, self.sandbox = limits, sandbox
        self._options = {"sandbox": sandbox, "hidden": [*map(str, hidden), *_courses()], "imports": list(imports), "namespaces": namespaces}
        self._lock: AbstractContextManager = threading.Lock()
        _sweep()
        self._home = tempfile.mkdtemp(prefix=_PREFIX)
        self._start()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_STREAM)
        command = [sys.executable, "-P", "-c", _START, str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], env=_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        self._control.settimeout(_START_SECONDS)
        with contextlib.suppress(OSError):  # it has ended already: whoever asks it next is told
            self._control.send(json.dumps(self._options | {"home": self._home}).encode())  # forks could read its command line

    @cached_property
    def greeting(self) -> dict[str, Any]:
        """What the process says when it is ready. It takes seconds to start: whoever has other work does it before asking."""
        answer = self._receive()
        if "error" in answer:
            self.close()
            raise SandboxError(f"The process that runs submissions did not start.\n{answer['error']}")
        return answer

    def _receive(self) -> dict[str, Any]:
        try:
            data = self._control.recv(MAX_REQUEST)
        except OSError as error:
            data, reason = b"", str(error)
        else:
            reason = "it ended"
        return json.loads(data) if data else {"error": f"No answer from it: {reason}."}

    def request(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """Ask the zygote to fork or to end a fork."""
        number = secrets.token_hex(8)
        with self._lock:
            _ = self.greeting
            try:
                socket.send_fds(self._control, [json.dumps(message | {"number": number}).encode()], list(descriptors))
            except OSError as error:
                raise SandboxError(f"The process that runs submissions is gone: {error}.") from None
            answer = self._receive()
            while answer.get("number", number) != number:  # of a worker that shared this zygote and died before its answer came
                answer = self._receive()
        if "error" in answer:
            raise SandboxError(f"The process that runs submissions failed. {answer['error']}")
        return answer

    def share(self, lock: AbstractContextManager) -> None:
        """Let processes that are forked from this one use the zygote too; `lock` keeps them apart."""
        self._lock = lock

    def submission(
        self,
        setup: str,
        source: str,
        *,
        name: str,
        wanted: Sequence[str] = (),
        forbid: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> "Student":
        """One exercise of one submission, in a fork of its own; nothing runs before `load`. `wanted`: names that it should define."""
        job = {
            "do": "load",
            "setup": setup,
            "source": source,
            "name": f"<exercise {name}>",
            "wanted": list(wanted),
            "forbid": dict(forbid or {}),
        }
        return Student(self, job, limits or self.limits)

    def close(self) -> None:
        """End the zygote and every fork, and remove their folders."""
        self._control.close()
        if "greeting" not in self.__dict__:  # still importing: it would notice late
            self._process.kill()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> "Zygote":
        _ = self.greeting
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _sweep() -> None:
    """Remove what graders left behind that were killed long ago."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            state = folder.lstat()
            if state.st_uid == os.geteuid() and time.time() - state.st_mtime > _STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _courses() -> list[str]:
    """Where answers and grades lie: the folder that the grader works in, and the one it was installed from."""
    folders = {Path.cwd(), Path(__file__).resolve().parents[2]}
    return [str(f) for f in folders if (f / "chapters").is_dir() or (f / "nbgrader_config.py").exists()]


def _environment() -> dict[str, str]:
    """What the zygote gets to know of the judge's environment: nothing but where things are."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | dict.fromkeys(_THREADS, "1") | _TUNING | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}


class Student:
    """One exercise of one submission. Made by `Zygote.submission`."""

    def __init__(self, zygote: Zygote, job: dict[str, Any], limits: Limits) -> None:
        self.zygote, self.limits = zygote, limits
        self._job = job
        self._channel: Channel | None = None
        self._pid = 0
        self._losses, self._careful = 0, False
        self._end = math.inf
        self._last: Lost | None = None
        self.cpu = 0.0
        self.outcome: CellOutcome | None = None

    def load(self) -> CellOutcome:
        """Run the set-up cell and the solution cell, in a fresh fork."""
        self.close()
        self._fork()
        began = time.monotonic()
        self._end = min(self._end, began + self.limits.life)
        deadline = min(self._end, began + self.limits.cell)
        try:
            nonce = self._send(self._job, deadline)
            message, _ = self._receive(nonce, deadline)
            self.outcome = outcome(message.get("outcome"), self.limits)
        except (Ended, TimeUp, WireError) as error:
            self._last = self._bury(error, "The cell", round(deadline - began))
            self.outcome = CellOutcome(self._last.kind, self._last.message, error=self._last.kind)
            self._losses = MAX_LOSSES_OF_ALL  # what the cell does to one process it does to the next
        return self.outcome

    def ask(self, probe: bytes, calls: Sequence[Call] | Packed) -> list[Observation]:
        """Exercise the submission on each call.

        Parameters
        ----------
        probe : a cloudpickled function, called as `probe(submission, *args, **kwargs)`
        calls : the cases; `pack` them once if many submissions get them

        Returns
        -------
        One observation per call. A call that hangs or kills the process costs only itself: the rest is asked of a fresh fork, until
        `MAX_LOSSES` calls were lost; the ones after share the last one's fate.
        """
        packed = calls if isinstance(calls, Packed) else pack(calls)
        seen: list[Observation] = []
        deadline = min(self._end, time.monotonic() + self.limits.ask)
        enough = min(self._losses + MAX_LOSSES, MAX_LOSSES_OF_ALL)
        while len(seen) < len(packed):
            late = time.monotonic() > deadline
            if late:
                self._last = self._last or Lost("time", "The code takes too long for all calls together.")
            if self._last and (self._losses >= enough or late):
                return seen + [self._last.observation()] * (len(packed) - len(seen))
            if self._channel is None:
                self.load()
            else:
                self._question(probe, packed, seen, deadline)
        return seen

    def _question(self, probe: bytes, packed: Packed, seen: list[Observation], deadline: float) -> None:
        """Ask for what is not seen yet and append what is; ends early if the process is lost."""
        seconds, room, start = self.limits.call, self.limits.replies, len(seen)
        try:
            job = {"do": "ask", "start": start, "careful": self._careful, "probe": _raw(probe), "calls": _raw(packed.data)}
            nonce = self._send(job, min(deadline, time.monotonic() + seconds))
            while len(seen) < len(packed):
                reply, size = self._reply(nonce, len(seen), packed, min(deadline, time.monotonic() + seconds))
                room -= size
                if room < 0:
                    raise WireError(f"all answers together take more than {self.limits.replies} bytes")
                seen.append(reply)
        except (Ended, TimeUp, WireError) as error:
            gone = self._bury(error, "The call", seconds)
            if self._careful or len(seen) == start or isinstance(error, WireError):
                self._losses += 1
                self._last = gone
                seen.append(gone.observation())
            self._careful = True  # answers that were held back are lost too: asked one by one, it shows which call is to blame

    def _reply(self, nonce: str, index: int, packed: Packed, deadline: float) -> tuple[Observation, int]:
        """The observation of call `index`, oracles served on the way."""
        budget = Budget(self.limits)
        while True:
            message, size = self._receive(nonce, deadline, tensors=bool(packed.oracles))
            if "failed" in message:
                raise WireError(f"the question could not be read there: {str(message['failed'])[:500]}")
            if not _same(message.pop("index", None), index):
                raise WireError("an answer to another call")
            if "oracle" not in message:
                return observation(without_tensors(message) if packed.oracles else message), size
            answer = consult(packed.oracles, message, budget)
            self._send(answer, deadline, nonce=nonce)

    def _send(self, message: dict[str, Any], deadline: float, nonce: str = "") -> str:
        """Send, marked with a number that no answer written beforehand can carry."""
        nonce = nonce or secrets.token_hex(8)
        self._channel.send(message | {"nonce": nonce}, deadline)
        return nonce

    def _receive(self, nonce: str, deadline: float, *, tensors: bool = False) -> tuple[dict[str, Any], int]:
        message, size = self._channel.receive(deadline, tensors=tensors)
        if type(message) is not dict or not _same(message.pop("nonce", None), nonce):
            raise WireError("an answer to no question")
        return message, size

    def _fork(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            setup = self._job["setup"] if len(self._job["setup"].encode()) <= MAX_SETUP else ""
            known = {"setup": setup, "forbid": list(self._job["forbid"])[:MOST_FORBIDDEN]}
            self._pid = self.zygote.request({"fork": vars(self.limits), **known}, [theirs.fileno()])["pid"]
        self._channel = Channel(ours, self.limits)

    def _bury(self, error: Exception, what: str, seconds: float) -> Lost:
        return lost(error, self.close(), self.limits, what=what, seconds=seconds)

    def close(self) -> dict[str, Any]:
        """End the fork, and everything that it started; gives back how it had ended."""
        if self._channel is None:
            return {}
        self._channel.close()
        self._channel = None
        ended = self.zygote.request({"end": self._pid})
        self.cpu += ended["cpu"]
        return ended

    def __enter__(self) -> "Student":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _same(told: Any, asked: str | int) -> bool:
    return type(told) is type(asked) and told == asked


def _raw(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)
