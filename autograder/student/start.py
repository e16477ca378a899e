"""How the zygote starts: the libraries that submissions use come first, then what every fork touches, side by side in memory.

Run by `autograder.student.process.Zygote` with the number of a socket, over which its options come.
"""

import functools
import gc
import json
import os
import pkgutil
import signal
import socket
import traceback
import types

from autograder.student import memory, namespaces
from autograder.student.limits import MAX_REQUEST


def main(argv: list[str]) -> None:
    """Entry point."""
    control = socket.socket(fileno=int(argv[0]))
    try:
        options = json.loads(control.recv(MAX_REQUEST))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the judge's business
        inside = options["sandbox"] == "full" and options["namespaces"] and namespaces.enter(control.fileno(), options["home"])
        gc.disable()  # what is imported is no garbage
        own_code()
        from autograder.student.warm import warm

        missing = warm(options["imports"])
        memory.fill()
        from autograder.student.zygote import Service

        service = Service(control, options, missing, inside=inside)
        gc.enable()
    except BaseException:  # whoever started this process shows it
        control.send(json.dumps({"error": traceback.format_exc()[-4000:]}).encode())
        raise
    service.run()
    os._exit(0)  # Python would take a quarter of a second to clear up


@functools.cache
def own_code() -> list[types.CodeType | None]:
    """The code of this package, kept: so its names lie together, though libraries that are imported later use some of them, too."""
    modules = list(pkgutil.iter_modules([os.path.dirname(__file__)], f"{__package__}."))
    return [m.module_finder.find_spec(m.name).loader.get_code(m.name) for m in modules]
