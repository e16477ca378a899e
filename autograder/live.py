"""Grade inside a notebook: what the check cells of the self-study edition and the hidden line of the class edition call."""

import linecache
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle

from autograder.chapter import Chapter
from autograder.course import chapters, course_root, find_exercise
from autograder.judge import judge
from autograder.quiz import mark
from autograder.quiz_verdict import quiz_verdict
from autograder.student.observe import Call, Observation, namespace, observe
from autograder.student.travel import Packed
from autograder.verdict import Verdict


class LiveStudent:
    """A submission in this very process: the learner's own notebook."""

    def __init__(self, names: Mapping[str, Any], wanted: Sequence[str], seconds: float) -> None:
        self._missing = tuple(name for name in wanted if not callable(names.get(name)))
        self._submission = namespace({k: v for k, v in names.items() if k.isidentifier()})
        self._seconds = seconds

    def load(self) -> Any:
        """Nothing to run: the notebook ran the cell."""
        return SimpleNamespace(status="ok", message="", where=(), notes=(), missing=self._missing)

    def ask(self, probe: bytes, calls: Sequence[Call] | Packed) -> list[Observation]:
        """Exercise the submission on each call; one that does not end in time ends the rest."""
        run, seen = cloudpickle.loads(probe), []
        for call in calls:
            try:
                with _alarm(self._seconds):
                    seen.append(observe(run, self._submission, call, is_cell))
            except _TooLong:
                return seen + [Observation(error="time")] * (len(calls) - len(seen))
        return seen


class _TooLong(BaseException):
    """The learner's code did not end in time; not an Exception, so that a bare `except Exception` does not catch it."""


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_cell(file: str) -> bool:
    """Whether a file name of a traceback is a notebook cell's."""
    return "ipykernel_" in file or file.startswith(("<ipython-input", "<exercise"))


def grade(id: str) -> None:
    """Judge the exercise `id` as this notebook has it, and show the card.

    The card is the cell's result at once, so that a failing assert further down in the cell does not hide it.
    """
    from IPython import get_ipython

    shell = get_ipython()
    chapter, id = _find(id)
    shell.displayhook(_judge_live(chapter, id, shell.user_ns))


def grade_quiz(chapter: str) -> None:
    """Judge the answer sheet of a chapter as this notebook has it, and show the card."""
    from IPython import get_ipython

    shell = get_ipython()
    shell.displayhook(quiz_verdict(chapter, mark(_course()[chapter].questions, shell.user_ns.get("answers"))))


def questions(chapter: str) -> None:
    """Show every question of a chapter as a widget that answers at once."""
    from IPython.display import display

    from utils.quiz import ask

    for q in _course()[chapter].questions:
        display(ask({**asdict(q), "options": list(q.options), "why": list(q.why)}))


@cache
def _root() -> Path:
    return course_root()


def _course() -> dict[str, Chapter]:
    return chapters(_root())


@cache
def _find(id: str) -> tuple[Chapter, str]:
    return find_exercise(_root(), id)


def _judge_live(chapter: Chapter, id: str, names: Mapping[str, Any]) -> Verdict:
    prepared, task = chapter.prepared[id], chapter.tasks[id]
    source = _cells_of([names.get(n) for n in prepared.exercise.names]) or task.start
    student = LiveStudent(names, prepared.exercise.names, prepared.exercise.seconds)
    alone = "NBGRADER_EXECUTION" not in os.environ  # nobody waits for a batch's smallest inputs
    return judge(prepared, student, points=task.points, source=source, start=task.start, thorough=alone)


def _cells_of(objects: Sequence[Any]) -> str:
    """The text of the cells in which functions or classes were defined."""
    files = dict.fromkeys(f for o in objects for f in _files(o))
    return "\n".join("".join(linecache.getlines(f)) for f in files)


def _files(value: Any) -> Iterator[str]:
    if hasattr(value, "__code__"):
        yield value.__code__.co_filename
    elif isinstance(value, type):
        yield from (f.__code__.co_filename for f in vars(value).values() if hasattr(f, "__code__"))
