"""What this machine offers to lock submissions in with."""

import platform
import sys

from autograder.errors import SandboxError
from autograder.student import landlock, seccomp

ADVICE = (
    "Mend it: Linux 6.2 or later with Landlock switched on (`cat /sys/kernel/security/lsm` names it; in a container, a seccomp profile "
    "that lets landlock_* pass), and a 64-bit x86 or ARM machine. If you accept that submissions can read and change what you can: "
    "--sandbox=none."
)


def missing() -> list[str]:
    """What this machine lacks for the full sandbox, in words; nothing if it is fit."""
    if sys.platform != "linux":
        return [f"the sandbox is made of parts of Linux, and this is {platform.system()}"]
    lacks = []
    version = landlock.abi()
    if version < 3:
        lacks.append(f"Landlock 3 or later, which keeps files apart: the kernel {platform.release()} offers {version or 'none'}")
    if not seccomp.supported():
        lacks.append(f"seccomp filters, which keep system calls apart, for this kind of machine ({platform.machine()})")
    return lacks


def require_full() -> None:
    """Refuse a machine that cannot lock submissions in.

    Raises
    ------
    SandboxError
    """
    lacks = missing()
    if lacks:
        raise SandboxError("This machine cannot lock submissions in. It lacks " + "; and ".join(lacks) + f".\n{ADVICE}")
