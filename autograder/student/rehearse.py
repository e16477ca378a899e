"""Let the zygote serve a judge before it forks: Python makes code faster that it has run before, and every fork gains by that."""

import linecache
import socket
import sys

import cloudpickle
import numpy as np

from autograder.student.cells import SETUP
from autograder.student.channel import Channel
from autograder.student.limits import DEFAULTS
from autograder.student.observe import Call
from autograder.student.probes import CallFunction
from autograder.student.serve import Server
from autograder.student.travel import pack

_NAME = "<rehearsal>"
_SETUP = "import numpy as np\nimport torch\n"
_SOURCE = "def f(x):\n    y = 2 * x\n    return y + 1\n"
_CALLS = (Call((np.ones(3),)), Call((1.0,)), Call(("a text, to which nothing can be added",)))


def rehearse(times: int = 12) -> None:
    """Load a cell and answer a question, `times` times. Python adapts a function from the eighth time on."""
    sys._clear_type_cache()  # what imports left there would be thrown out by forks, one by one, and each be touched by that
    load = {"do": "load", "setup": _SETUP, "source": _SOURCE, "name": _NAME, "wanted": ["f"], "forbid": {"numpy.convolve": ""}, "nonce": ""}
    probe, calls = (np.frombuffer(data, np.uint8) for data in (cloudpickle.dumps(CallFunction("f")), pack(_CALLS).data))
    ask = {"do": "ask", "start": 0, "careful": False, "probe": probe, "calls": calls, "nonce": ""}
    for _ in range(times):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            judge, server = Channel(ours, DEFAULTS), Server(Channel(theirs, DEFAULTS), DEFAULTS)
            judge.send(load)
            judge.send(ask)
            ours.shutdown(socket.SHUT_WR)
            server.run()
            server.forbidden.restore()
    for name in (SETUP, _NAME):
        linecache.cache.pop(name)
