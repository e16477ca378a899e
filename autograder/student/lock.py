"""Lock this process in: what a fork does before the first line of a learner."""

import ctypes
import fcntl
import math
import os
import resource
import struct
import sys
import tempfile
from collections.abc import Iterable

from autograder.errors import SandboxError
from autograder.student import landlock, seccomp
from autograder.student.libc import LIBC
from autograder.student.limits import Limits

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 36, 38
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 63
_OF_RM = (1, 2, 3)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER: with them the zygote's `rm` removes what forks left
SOCKET = 3  # where the socket to the judge lies in a fork


#: Bounds of a process, as `resource` has them: a kind, and its soft and hard value.
Bounds = list[tuple[int, tuple[int, int]]]


def keep_only(*descriptors: int) -> None:
    """Close every descriptor but these, which become numbers `SOCKET` and following; standard input and output lead nowhere."""
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    end = SOCKET + len(descriptors)
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, end) for descriptor in descriptors]  # where none is in another's way
    for number, descriptor in enumerate(aside, SOCKET):
        os.dup2(descriptor, number)
    os.closerange(end, 1 << 16)


def forget_environment() -> None:
    """Leave nothing of the grader's environment. Done once, in the zygote."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in os.environ}
    sys.path[:] = [entry for entry in sys.path if entry != os.environ.get("PYTHONPATH")]
    os.environ.clear()
    os.environ.update(kept, USER="student", LOGNAME="student", PATH="")


def move_into(home: str) -> None:
    """Make `home` the place of every file that is named without a folder."""
    for name in ("HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "TORCH_HOME"):
        os.environ[name] = home
    tempfile.tempdir = home
    os.umask(0o077)
    os.chdir(home)


def lock(ruleset: int, bounds: Bounds, uid: int | None) -> None:
    """Give up everything that a submission does not need. There is no way back.

    Parameters
    ----------
    ruleset : a descriptor for the files that are left, see `landlock.ruleset`
    bounds : see `rlimits`
    uid : the user to become, or None to stay

    Raises
    ------
    SandboxError : some part of it is refused
    """
    _bind(bounds)
    _rule_out(_OF_RM)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _drop_capabilities()
    _prctl(_PR_SET_PDEATHSIG, 9)  # after setuid, which clears it
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict(ruleset)
    seccomp.install(os.getpid())


def _bind(bounds: Bounds) -> None:
    for kind, values in bounds:
        resource.setrlimit(kind, values)


def rlimits(limits: Limits, size: int, *, own_uid: bool = False) -> Bounds:
    """The bounds of a process.

    Parameters
    ----------
    size : bytes of address space that the process has to begin with
    own_uid : whether nobody else's processes count as this user's, so that their number can be limited
    """
    seconds = math.ceil(limits.cpu)
    most = {
        resource.RLIMIT_AS: size + limits.memory,
        resource.RLIMIT_FSIZE: limits.files,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if own_uid:
        most[resource.RLIMIT_NPROC] = limits.threads
    hard = {kind: resource.getrlimit(kind)[1] for kind in most}
    kept = {kind: wanted if hard[kind] == resource.RLIM_INFINITY else min(wanted, hard[kind]) for kind, wanted in most.items()}
    return [*((kind, (bound, bound)) for kind, bound in kept.items()), (resource.RLIMIT_CPU, (seconds, seconds + 1))]


def rule_out_programs() -> None:
    """Let no program that the zygote or a fork might start have capabilities, but what `rm` needs. Done once, in the zygote."""
    _rule_out(capability for capability in range(_LAST_CAPABILITY + 1) if capability not in _OF_RM)


def _rule_out(capabilities: Iterable[int]) -> None:
    for capability in capabilities:
        LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused without CAP_SETPCAP, where there is nothing to drop


def _drop_capabilities() -> None:
    header, nothing = struct.pack("<Ii", _CAPABILITY_VERSION, 0), bytes(24)
    if LIBC.capset(header, nothing):
        raise SandboxError(f"capabilities: {os.strerror(ctypes.get_errno())}")


def _prctl(option: int, value: int) -> None:
    if LIBC.prctl(option, value, 0, 0, 0):
        raise SandboxError(f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def separate(bounds: Bounds) -> None:
    """What is done without a sandbox: limits on memory, time and files, and an end with the zygote."""
    if sys.platform == "linux":
        _bind(bounds)
        _prctl(_PR_SET_PDEATHSIG, 9)


def adopt_orphans() -> None:
    """Become the parent of processes whose parent dies, so that none gets away."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
