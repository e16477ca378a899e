"""Namespaces, where the machine grants them: a view of the system that holds nothing but what submissions need.

They come on top of Landlock and seccomp, which hold alone. They add that other processes and files cannot even be named, that a work
folder has a size, and that root can become somebody else. The zygote enters them once; its forks inherit them.
"""

import ctypes
import os
import signal
import struct
from collections.abc import Sequence

from autograder.student.libc import LIBC

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_ALL = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_MOUNT_SETATTR, _PIVOT_ROOT = 442, {"x86_64": 155, "aarch64": 41}
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
FOLDERS = 4096  # files and folders in one work folder


def enter(closing: int, home: str) -> bool:
    """Move into fresh namespaces, in a new process that is the first of its kind; False where that is refused.

    The process that called goes on in its child; itself it waits for the child and ends. `closing`: a descriptor that only the child
    keeps. `home`: a folder to mount on.
    """
    flags = next((flags for flags in ([_ALL] if os.geteuid() == 0 else []) + [_ALL | _NEWUSER] if _granted(flags, home)), 0)
    if not flags:
        return False
    _unshare(flags)
    pid = os.fork()
    if pid:
        os.close(closing)
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    return True


def confine(places: Sequence[str], devices: Sequence[str], home: str) -> None:
    """Make a root that holds only `places`, read-only, `devices`, and an empty folder `home`.

    Raises
    ------
    OSError : some step is refused; then nothing has changed that matters
    """
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    root = os.path.join(home, "root")
    os.mkdir(root)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID, "mode=755,size=1m")
    for path in (*places, *devices):
        _show(path, root + path, device=path.startswith("/dev/"))
    os.makedirs(root + home, mode=0o755, exist_ok=True)
    _mount("tmpfs", root + home, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "mode=755,size=1m")
    os.mkdir(root + "/old")
    _call(_PIVOT_ROOT[os.uname().machine], root.encode(), (root + "/old").encode())
    os.chdir("/")
    _check(LIBC.umount2(b"/old", _MNT_DETACH))
    os.rmdir("/old")
    _mount("none", "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID)


def _show(path: str, at: str, *, device: bool) -> None:
    if os.path.isdir(path):
        os.makedirs(at, mode=0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(at), mode=0o755, exist_ok=True)
        os.close(os.open(at, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(path, at, None, _MS_BIND | _MS_REC)
    attributes = _ATTR_NOSUID | (0 if device else _ATTR_RDONLY | _ATTR_NODEV)
    _call(_MOUNT_SETATTR, _AT_FDCWD, at.encode(), _AT_RECURSIVE, struct.pack("<QQQQ", attributes, 0, 0, 0), 32)


def mount_work(home: str, size: int, uid: int) -> None:
    """A work folder at `home` that holds at most `size` bytes and belongs to `uid`."""
    _mount("tmpfs", home, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, f"mode=700,size={size},nr_inodes={FOLDERS},uid={uid},gid={uid}")


def unmount_work(home: str) -> None:
    """Throw a work folder away, whatever is in it."""
    _check(LIBC.umount2(home.encode(), _MNT_DETACH))


def _granted(flags: int, home: str) -> bool:
    """Try in a child, for there is no way back. Some systems grant a namespace and then nothing that is done in it."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    try:
        _unshare(flags)
        _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
        _mount("tmpfs", home, "tmpfs", _MS_NOSUID, "size=1m")
        os._exit(0)
    except OSError:
        os._exit(1)


def _unshare(flags: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    _check(LIBC.unshare(flags))
    if flags & _NEWUSER:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    names = source.encode(), target.encode(), kind.encode() if kind else None
    _check(LIBC.mount(*names, ctypes.c_ulong(flags), options.encode() or None), target)


def _call(number: int, *args: object) -> None:
    _check(LIBC.syscall(number, *args))


def _check(result: int, what: str = "") -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
