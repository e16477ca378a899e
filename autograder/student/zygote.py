"""The zygote: a fresh process that has imported what submissions use (see `start`), and forks one locked child per submission.

It never imports an answers file, sees no submission's text, and runs no learner's code: sources and questions go to each fork over a
socket of its own. Over the socket that it was started with it serves:

    {"fork": limits, "setup": text, "forbid": names} and a socket   → {"pid": …}
    {"end": pid}                    → {"status": wait status, "cpu": seconds, "rss": kilobytes, "overfull": …}
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import IPython

from autograder.student import forks, landlock, namespaces, origins, seccomp
from autograder.student.cells import SETUP, code_of
from autograder.student.channel import Channel
from autograder.student.display import display
from autograder.student.limits import MAX_REQUEST, Limits, address_space
from autograder.student.lock import (
    SOCKET,
    Bounds,
    adopt_orphans,
    forget_environment,
    keep_only,
    lock,
    move_into,
    rlimits,
    rule_out_programs,
    separate,
)
from autograder.student.memory import arrange
from autograder.student.places import DEVICES, open_to_all, readable, refuse_overlap
from autograder.student.rehearse import rehearse
from autograder.student.serve import Server, seed
from autograder.student.substitutes import substitutes, torch_mode
from autograder.student.warm import warm_own

WATCH_SECONDS = 0.1
#: Users that nobody is: beyond those that systemd, containers and directories hand out.
FIRST_UID, USERS = 2_000_000_000, 100_000


@dataclass
class Child:
    """A fork: its work folder, how many bytes that may hold and whether it held more, and the core that it runs on."""

    home: str
    most: int
    core: int | None
    overfull: bool = False


class Service:
    """Serves forks until the judge hangs up.

    Parameters
    ----------
    control : the socket to the judge
    options : what the judge asks for, as `process.Zygote` writes it
    missing : what could not be imported, to be told
    inside : whether this process has namespaces of its own
    """

    def __init__(self, control: socket.socket, options: dict[str, Any], missing: list[str], *, inside: bool) -> None:
        self.control, self.home, self.full = control, options["home"], options["sandbox"] == "full"
        self.children: dict[int, Child] = {}
        self.cores = sorted(os.sched_getaffinity(0)) if self.full else []
        self.watched = 0.0
        self.tasks: dict[tuple, tuple[Limits, Bounds]] = {}
        self.rules: tuple[bytes, ...] = ()
        self.count = 0
        self.inside, self.own, self.other_user = inside, False, False
        if not self.full:
            adopt_orphans()
        missing = missing + prepare()
        forget_environment()
        arrange()  # before the lock takes /proc away
        self.size = address_space()
        places, notes = self.arm(options["hidden"]) if self.full else ([], [])
        greeting = {"ready": os.getpid(), "missing": missing, "notes": notes, "namespaces": self.inside, "places": places}
        control.send(json.dumps(greeting).encode())

    def arm(self, hidden: list[str]) -> tuple[list[str], list[str]]:
        """Find out once what every fork is locked in with; gives back the places that it can read, and what this machine lacks."""
        places, notes = readable(), []
        refuse_overlap(places, hidden)
        if self.inside:
            try:
                namespaces.confine(places, DEVICES, self.home)
                self.own = True
            except OSError as error:
                notes.append(f"no file system of its own: {error}")
        if not self.own:
            os.chmod(self.home, 0o711)
        self.other_user = os.geteuid() == 0 and open_to_all(places, parents=not self.own)
        rule_out_programs()
        self.rules = landlock.opened(places, DEVICES)
        return places, notes

    def run(self) -> None:
        """Serve until the socket closes, then take every child along."""
        while True:
            self.watch()
            data, descriptors, _, _ = socket.recv_fds(self.control, MAX_REQUEST, 1)
            if not data:
                break
            request = json.loads(data)
            try:
                answer = self.fork(request, descriptors[0]) if "fork" in request else self.end(request["end"])
            except OSError as error:
                answer = {"error": str(error)}
            self.control.send(json.dumps(answer | {"number": request.get("number")}).encode())
        for pid in list(self.children):
            self.end(pid)

    def fork(self, request: dict[str, Any], descriptor: int) -> dict[str, Any]:
        """A child that serves the judge over `descriptor`."""
        limits, bounds = self.prepared(request)
        self.count += 1
        home = f"{self.home}/{os.urandom(8).hex()}"  # a name that no neighbour can guess
        uid = FIRST_UID + self.count % USERS if self.other_user else None
        core = self.least_used()
        self.make_work(home, limits, os.geteuid() if uid is None else uid)
        pid = os.fork()
        if pid == 0:
            self.children.clear()  # the names of neighbours' folders
            try:
                if core is not None:
                    os.sched_setaffinity(0, {core})
                become_student(descriptor, home, limits, bounds, self.rules if self.full else None, uid)
            finally:
                os._exit(0)
        os.close(descriptor)
        self.children[pid] = Child(home, limits.files, core)
        return {"pid": pid}

    def prepared(self, request: dict[str, Any]) -> tuple[Limits, Bounds]:
        """The limits of a fork. What is the course's own about its task is prepared, once for all forks."""
        key = (request["setup"], *request["forbid"], *request["fork"].values())
        if key not in self.tasks:
            with suppress(Exception):  # the fork will say what is wrong with it
                code_of(request["setup"], SETUP)
            substitutes(tuple(request["forbid"]), len(sys.modules))
            limits = Limits(**request["fork"])
            own_uid = self.other_user or (self.inside and os.geteuid() != 0)
            self.tasks[key] = limits, rlimits(limits, self.size, own_uid=own_uid)
        return self.tasks[key]

    def watch(self) -> None:
        """Wait for the judge; where a work folder has no size of its own, kill who writes more than it may, however busy the judge is."""
        while self.full and not self.own and self.children:
            left = self.watched + WATCH_SECONDS - time.monotonic()
            if left > 0:
                if select.select([self.control], [], [], left)[0]:
                    return
                continue
            self.watched = time.monotonic()
            for pid, child in self.children.items():
                if overfull(child.home, child.most):
                    child.overfull = True
                    os.kill(pid, signal.SIGKILL)

    def least_used(self) -> int | None:
        """The core on which the fewest forks run. Each gets one, so that its threads take time from nobody else's."""
        if not self.full:
            return None
        used = [child.core for child in self.children.values()]
        return min(self.cores, key=used.count)

    def make_work(self, home: str, limits: Limits, uid: int) -> None:
        """A folder for a child."""
        os.mkdir(home, 0o700)
        if self.own:
            namespaces.mount_work(home, limits.files, uid)
        elif uid != os.geteuid():
            os.chown(home, uid, uid)

    def end(self, pid: int) -> dict[str, Any]:
        """Kill a child and all that it started, and tell how it had ended, if it had."""
        if pid not in self.children:
            return {"status": 0, "cpu": 0.0, "rss": 0, "overfull": False}
        child = self.children.pop(pid)
        os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        if not self.full:
            kill_orphans(set(self.children))
        if self.own:
            namespaces.unmount_work(child.home)
        remove(child.home)
        return {"status": status, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss, "overfull": child.overfull}


def overfull(home: str, most: int) -> bool:
    """Whether a work folder holds more than `most` bytes, or more files than anybody needs."""
    folders, size, count = [home], 0, 0
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if size > most or count > namespaces.FOLDERS:
                        return True
        except OSError:  # it is being removed
            continue
    return False


def remove(home: str) -> None:
    """Remove a work folder, however a learner's code left it."""
    try:
        os.rmdir(home)
    except OSError:
        subprocess.run(["/bin/rm", "-rf", "--one-file-system", "--", home], check=False, stderr=subprocess.DEVNULL)


def kill_orphans(known: set[int]) -> None:
    """Kill processes that a child started and left behind: they are ours now, since a zygote inherits them."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while children.exists() and (strays := {int(pid) for pid in children.read_text().split()} - known):
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def prepare() -> list[str]:
    """Import and warm what of ours the forks share; gives back what could not be."""
    missing = warm_own()
    for module in (IPython.display, IPython.core.display_functions, IPython):
        module.display = display  # without a kernel, IPython's own prints
    if seccomp.supported():
        seccomp.compiled()
    forks.run_held()
    rehearse()
    seed(0)
    sys.dont_write_bytecode = True
    torch_mode()
    origins.listen()
    return missing


def become_student(descriptor: int, home: str, limits: Limits, bounds: Bounds, rules: tuple[bytes, ...] | None, uid: int | None) -> None:
    """Lock this process in, unless there are no `rules` for the files that are left to it; then serve the judge."""
    os.setsid()
    move_into(home)
    if rules is None:
        keep_only(descriptor)
        separate(bounds)
    else:
        keep_only(descriptor, landlock.ruleset(rules, home))
        lock(SOCKET + 1, bounds, uid)
    Server(Channel(socket.socket(fileno=SOCKET), limits), limits).run()
