"""Grade one notebook on a learner's own machine: `dlcourse check`."""

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from autograder.chapter import Chapter
from autograder.errors import NotebookError
from autograder.grading.blueprint import Blueprint
from autograder.grading.judging import Bench, Graded, judge_submission
from autograder.grading.submission import Submission, own_id, parse, read_bytes, take
from autograder.solo import beside
from autograder.verdict import Verdict


def find_work(root: Path, chapters: Iterable[Chapter], path: Path) -> tuple[Blueprint, Submission]:
    """The chapter that a notebook belongs to, and the solutions in it. Class edition or self-study edition.

    Raises
    ------
    NotebookError : it cannot be read, or is none of ours
    """
    cells = parse(read_bytes(path), path.name)
    ids = {own_id(cell) for cell in cells}
    blueprints = [Blueprint(root, chapter) for chapter in chapters]
    best = max(blueprints, key=lambda b: len(ids & b.solution_ids), default=None)
    if best is None or not ids & best.solution_ids:
        raise NotebookError(f"{path} has no exercise cell of this course. Is it a notebook from notebooks/ or release/?")
    return best, take(cells, best.solution_ids, own_id)


def check(blueprint: Blueprint, submission: Submission, done: Callable[[Verdict], None]) -> Graded:
    """The verdicts, in a process beside this one; `done` gets each as it is reached."""
    exercises = [blueprint.chapter.prepared[s.exercise] for s in blueprint.slots if s.exercise in blueprint.chapter.tasks]
    tried = [p for p, s in zip(exercises, blueprint.slots) if s.solution_id in submission.sources]
    with closing(beside(blueprint.chapter)) as zygote:
        _ = [p.expected for p in tried]  # while the zygote starts
        return judge_submission(blueprint, submission, Bench("none", zygote.limits, started=zygote, thorough=True), done)
