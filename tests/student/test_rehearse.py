"""What the zygote rehearses leaves no trace but speed."""

import builtins
import importlib
import linecache
import sys

import numpy as np

from autograder.student.cells import SETUP
from autograder.student.rehearse import _NAME, rehearse


def _what_it_touches() -> list[object]:
    return [builtins.__import__, importlib.import_module, np.convolve, sys.modules["__main__"], sys.stdout, sys.displayhook]


def test_a_rehearsal_puts_everything_back():
    before = _what_it_touches()
    rehearse(2)
    assert all(now is then for now, then in zip(_what_it_touches(), before))
    assert not {SETUP, _NAME} & set(linecache.cache)


def test_a_rehearsal_goes_all_the_way(monkeypatch):
    from autograder.student.serve import Server

    seen = []
    monkeypatch.setattr(Server, "reply", lambda self, observation, at_once: seen.append(observation))
    rehearse(1)
    assert [o.error for o in seen] == [None, None, "TypeError"]
    assert seen[0].value.tolist() == [3.0, 3.0, 3.0]
