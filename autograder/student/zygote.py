"""The zygote: a fresh process that imports what submissions use, and forks one locked child per submission.

It never imports an answers file, sees no submission's text, and runs no learner's code: sources and questions go to each fork over a
socket of its own. Started by `autograder.student.process.Zygote` with one socket, over which it serves:

    {"fork": limits} and a socket   → {"pid": …}
    {"end": pid}                    → {"status": wait status, "cpu": seconds, "rss": kilobytes}
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback
from typing import Any

MAX_REQUEST = 1 << 16


def main(argv: list[str]) -> None:
    """Entry point of `python -P -m autograder.student.zygote FD OPTIONS`."""
    control = socket.socket(fileno=int(argv[0]))
    options = json.loads(argv[1])
    try:
        zygote = _Zygote(control, options)
    except BaseException:  # noqa: BLE001  whoever started this process shows it
        control.send(json.dumps({"error": traceback.format_exc()[-4000:]}).encode())
        raise
    zygote.run()


class _Zygote:
    """Serves forks until the judge hangs up."""

    def __init__(self, control: socket.socket, options: dict[str, Any]) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the judge's business
        self.control, self.options = control, options
        self.children: set[int] = set()
        self.count = 0
        missing = prepare()
        control.send(json.dumps({"ready": os.getpid(), "missing": missing}).encode())

    def run(self) -> None:
        """Serve until the socket closes, then take every child along."""
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.control, MAX_REQUEST, 1)
            if not data:
                break
            request = json.loads(data)
            answer = self.fork(request["fork"], descriptors[0]) if "fork" in request else self.end(request["end"])
            self.control.send(json.dumps(answer).encode())
        for pid in list(self.children):
            self.end(pid)

    def fork(self, limits: dict[str, Any], descriptor: int) -> dict[str, Any]:
        """A child that serves the judge over `descriptor`."""
        self.count += 1
        home = os.path.join(self.options["home"], f"s{self.count}")
        pid = os.fork()
        if pid == 0:
            self.child(limits, descriptor, home)
        os.close(descriptor)
        self.children.add(pid)
        return {"pid": pid}

    def child(self, limits: dict[str, Any], descriptor: int, home: str) -> None:
        """The life of a fork; never returns."""
        try:
            self.control.close()
            os.setsid()
            become_student(limits, descriptor, home, self.options)
        finally:
            os._exit(0)

    def end(self, pid: int) -> dict[str, Any]:
        """Kill a child and tell how it had ended, if it had."""
        if pid not in self.children:
            return {"status": 0, "cpu": 0.0, "rss": 0}
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        _, status, usage = os.wait4(pid, 0)
        self.children.discard(pid)
        return {"status": status, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss}


def prepare() -> list[str]:
    """Import, warm, and freeze what the forks share."""
    import matplotlib

    matplotlib.use("Agg")
    import torch

    torch.set_num_threads(1)
    from autograder.student.warm import warm

    missing = warm()
    import IPython
    import IPython.core.display_functions
    import IPython.display

    from autograder.student.display import display

    for module in (IPython.display, IPython.core.display_functions, IPython):
        module.display = display  # without a kernel, IPython's own prints
    gc.collect()
    gc.freeze()
    return missing


def become_student(limits: dict[str, Any], descriptor: int, home: str, options: dict[str, Any]) -> None:
    """Lock this process in, then serve the judge."""
    from autograder.student.channel import Channel
    from autograder.student.limits import Limits
    from autograder.student.serve import Server

    bounds = Limits(**limits)
    os.makedirs(home, mode=0o700)
    os.chdir(home)
    Server(Channel(socket.socket(fileno=descriptor), bounds), bounds).run()


if __name__ == "__main__":
    main(sys.argv[1:])
