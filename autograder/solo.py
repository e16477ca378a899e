"""Judge solutions outside of a course run: one file, or one notebook on the learner's own machine."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace

from autograder.chapter import Chapter
from autograder.exercise import Exercise
from autograder.judge import judge
from autograder.student.limits import Limits
from autograder.student.process import Zygote
from autograder.student.warm import libraries_for
from autograder.verdict import Verdict


def judge_text(chapter: Chapter, sources: Mapping[str, str], done: Callable[[Verdict], None] = lambda verdict: None) -> dict[str, Verdict]:
    """The verdict on each solution.

    Parameters
    ----------
    sources : exercise → the text of its solution cell
    done : called with each verdict as it is reached
    """
    verdicts = {}
    with closing(beside(chapter)) as zygote:
        _ = [chapter.prepared[id].expected for id in sources]  # while the zygote starts
        for verdict in judge_with(zygote, chapter, sources):
            done(verdict)
            verdicts[verdict.exercise] = verdict
    return verdicts


def beside(chapter: Chapter) -> Zygote:
    """A zygote on the learner's own machine, where nothing is locked."""
    return Zygote(limits=Limits(), sandbox="none", imports=libraries_for([chapter.folder]))


def limits_of(exercise: Exercise, limits: Limits) -> Limits:
    """What one exercise may use: all its cases together have `exercise.seconds`, a single call half of it."""
    seconds = exercise.seconds
    return replace(limits, call=seconds / 2, ask=seconds, life=limits.cell + 3 * seconds)  # cases, smaller inputs, and some room


def judge_with(zygote: Zygote, chapter: Chapter, sources: Mapping[str, str]) -> Iterator[Verdict]:
    """Judge each solution in a fork of its own."""
    for id, source in sources.items():
        prepared, task = chapter.prepared[id], chapter.tasks[id]
        exercise = prepared.exercise
        limits = limits_of(exercise, zygote.limits)
        with zygote.submission(chapter.setup, source, name=id, wanted=exercise.names, forbid=exercise.forbid, limits=limits) as student:
            yield judge(prepared, student, points=task.points, source=source, start=task.start)
