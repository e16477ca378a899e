"""What a submission costs beyond its own work. The bars are wide: tests share their machine."""

import statistics
import time
from collections.abc import Callable

import numpy as np

from autograder.student.observe import Observation
from autograder.student.process import Zygote


def test_a_submission_costs_a_fork(locked: Zygote, ask: Callable[..., list[Observation]]) -> None:
    spent = []
    for _ in range(10):
        before = time.process_time()
        with locked.submission("import math", "def f(x): return x", name="a.b") as student:
            student.load()
            ask(student, [(1.0,)])
        spent.append(student.cpu + time.process_time() - before)
    assert statistics.median(spent) < 0.05  # about 0.008 on an idle machine


def test_a_call_costs_little(locked: Zygote, ask: Callable[..., list[Observation]]) -> None:
    with locked.submission("", "def f(x): return x", name="a.b") as student:
        student.load()
        began = time.monotonic()
        ask(student, [(np.ones(20),)] * 500)
    assert (time.monotonic() - began) / 500 < 0.002  # about 0.0001 on an idle machine


def test_what_a_task_rules_out_costs_a_fork_little(locked: Zygote) -> None:
    def cpu(forbid: dict[str, str]) -> float:
        with locked.submission("import numpy as np", "x = 1", name="a.b", forbid=forbid) as student:
            student.load()
        return student.cpu

    pairs = [(cpu({"utils.demos": "", "torch": "", "warnings": ""}), cpu({})) for _ in range(20)]
    ruled_out, free = map(min, zip(*pairs))
    assert ruled_out < 1.6 * free  # about 1.2: looking through all modules for some made it 2.5
