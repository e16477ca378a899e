"""Whose code it is that runs: a file's name is believed unless learner's code has made the code that bears it.

Code tells where it comes from by the name of a file, and whoever compiles code chooses the name. Python tells what is compiled, and who
looks through its memory.
"""

import importlib._bootstrap_external
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autograder.student.forbidden import Forbidden

#: The collector finds what was put out of sight; code that is read from bytes tells no name.
_EVENTS = {"compile", "code.__new__", "marshal.loads", "gc.get_objects", "gc.get_referents", "gc.get_referrers"}
_rules: "Forbidden | None" = None


def watch(rules: "Forbidden | None") -> None:
    """From now on, note in `rules.made` under which names learner's code makes code, while `rules` are in force; None to stop."""
    global _rules
    _rules = rules
    listen()


@cache
def listen() -> None:
    """Have Python tell what is compiled."""
    sys.addaudithook(_note)  # for good: Python has no way to remove one


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event not in _EVENTS or _rules is None or not _rules.active:
        return
    module = event.partition(".")[0]
    if module in ("gc", "marshal"):
        if sys._getframe(1).f_globals is not vars(importlib._bootstrap_external) and _rules.reached():
            _rules.refuse(module)
        return
    what, file = args[:2]
    known = not isinstance(file, str) or file.startswith("<") or file in _rules.made
    if not known and _rules.reached() and not _read_from(file, what):
        _rules.made.add(file)


def _read_from(file: str, source: Any) -> bool:
    """Whether `source` is the text of `file`, as when a library is imported for the first time."""
    try:
        with open(file, "rb") as stream:
            return isinstance(source, bytes) and stream.read() == source
    except OSError:
        return False
