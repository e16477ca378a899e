"""Measure grading: the same submissions through stock nbgrader and through ours, in one run."""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from autograder.build.release import alembic_on_path
from autograder.chapter import Chapter
from autograder.errors import CourseError
from autograder.grading.gradebook import scores_of
from autograder.grading.samples import can_be_written, fill_in, text_of
from autograder.grading.settings import Settings
from autograder.quiz import LETTERS
from autograder.quiz_verdict import quiz_id

#: Steps whose share of the time is told: name → where the function stands.
STEPS = {
    "read the file": "autograder.grading.worker.read_submission",
    "fork, lock, run the cells": "autograder.student.process.Student.load",
    "exercise the cases": "autograder.student.process.Student.ask",
    "write the notebook": "autograder.grading.worker.write_whole",
    "record the grades": "autograder.grading.gradebook.Writer.record",
    "render the feedback": "autograder.grading.batch.feedback_page",
}


@dataclass(frozen=True)
class Run:
    """One way to grade all submissions. Seconds by the clock and of processors; megabytes of the largest process."""

    seconds: float
    cpu: float
    megabytes: float
    scores: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Result:
    """What `dlcourse bench grading` prints; `cpu_around`: what one more submission costs beyond its own cells and its checks."""

    chapter: str
    submissions: int
    ours: float
    stock: float
    ratio: float
    latency: float
    marginal: float
    cpu_of_one: float
    cpu_around: float
    megabytes: float
    stock_megabytes: float
    different: list[str]
    split: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Throughputs in submissions a second, the rest in seconds and megabytes."""
        return asdict(self)


def measure(root: Path, chapter: Chapter, n: int, work: Path, say: Callable[[str], None]) -> Result:
    """Grade `n` varied submissions of a chapter twice, in throw-away courses under `work`."""
    say(f"making {n} varied submissions of {chapter.name}")
    notebooks = varied(root, chapter, n)
    ours, stock = (course_with(root, chapter, notebooks, work / kind) for kind in ("ours", "stock"))
    for course in (ours, stock):
        _run(course, ["-m", "nbgrader", "generate_assignment", chapter.name, "--force"])
    say("ours: dlcourse grade")
    mine = _timed(ours, ["-m", "autograder.cli", "grade", chapter.name, "--json"], chapter)
    one = _timed(ours, ["-m", "autograder.cli", "grade", chapter.name, "--json", "--force", "--student", "student-000"], chapter)
    say("ours, on cells in which there is nothing to run or to check")
    around = cpu_around(root, chapter, work / "hollow")
    split = time_split(ours, chapter)
    say(f"ours took {mine.seconds:.1f} s; now stock nbgrader, which takes its time")
    theirs = _timed(stock, ["-m", "nbgrader", "autograde", chapter.name], chapter, {"DLCOURSE_EXECUTE": "stock"})
    return Result(
        chapter=chapter.name,
        submissions=n,
        ours=n / mine.seconds,
        stock=n / theirs.seconds,
        ratio=theirs.seconds / mine.seconds,
        latency=one.seconds,
        marginal=(mine.seconds - one.seconds) / max(1, n - 1),
        cpu_of_one=(mine.cpu - one.cpu) / max(1, n - 1),
        cpu_around=around,
        megabytes=mine.megabytes,
        stock_megabytes=theirs.megabytes,
        different=differences(mine.scores, theirs.scores),
        split=split,
    )


def varied(root: Path, chapter: Chapter, n: int) -> dict[str, dict[str, Any]]:
    """Student → notebook. Each exercise is solved, solved otherwise, done wrong in a known way, or left alone. Seed 0."""
    rng = random.Random(0)
    texts = {id: _choices(chapter, id) for id in chapter.tasks}
    found = {}
    for i in range(n):
        solutions = {id: rng.choice(choices) for id, choices in texts.items()}
        solutions = {id: text for id, text in solutions.items() if text}
        sheet = "\n".join(f'    "{q.id}": "{rng.choice(LETTERS[: len(q.options)])}",' for q in chapter.questions)
        solutions[quiz_id(chapter.name)] = f"answers = {{\n{sheet}\n}}"
        found[f"student-{i:03d}"] = fill_in(root, chapter, solutions)
    return found


def _choices(chapter: Chapter, id: str) -> list[str]:
    exercise = chapter.exercises[id]
    known = [i for i in (*exercise.rights, *exercise.traps) if can_be_written(exercise, i)]
    solution = chapter.tasks[id].solution
    texts = [text_of(exercise, i) for i in known]
    # what uses the engine's own helpers is no text that a learner could hand in
    return [solution] * (1 + len(known)) + [t for t in texts if "autograder" not in t] + [""]


def course_with(root: Path, chapter: Chapter, notebooks: Mapping[str, Mapping[str, Any]], course: Path) -> Path:
    """A throw-away course with one chapter and what was handed in."""
    for folder in ("chapters", "source"):
        shutil.copytree(root / folder / chapter.name, course / folder / chapter.name)
    shutil.copy(root / "nbgrader_config.py", course)
    for student, notebook in notebooks.items():
        path = course / "submitted" / student / chapter.name / f"{chapter.slug}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook), encoding="utf-8")
    return course


def _run(course: Path, arguments: Sequence[str], more: Mapping[str, str] = {}) -> None:
    with alembic_on_path():
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **more}
        done = subprocess.run([sys.executable, *arguments], cwd=course, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise CourseError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def _timed(course: Path, arguments: Sequence[str], chapter: Chapter, more: Mapping[str, str] = {}) -> Run:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    _run(course, arguments, more)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(seconds, cpu, after.ru_maxrss / 1024, scores_of(Settings(course), chapter.name))


def cpu_around(root: Path, chapter: Chapter, course: Path) -> float:
    """Processor time of one more submission none of whose cells defines anything: locked forks, judging, notebook, record and page."""
    many = 60
    hollow = {f"student-{i:03d}": fill_in(root, chapter, dict.fromkeys(chapter.tasks, f"x = {i}")) for i in range(many + 1)}
    course_with(root, chapter, hollow, course)
    _run(course, ["-m", "nbgrader", "generate_assignment", chapter.name, "--force"])
    command = ["-m", "autograder.cli", "grade", chapter.name, "--json", "--force"]
    kinds = (["--student", "student-000"], [])
    # by turns, since a machine is faster at one minute than at the next
    turns = [[_timed(course, [*command, *some], chapter).cpu for some in kinds] for _ in range(3)]
    alone, together = map(min, zip(*turns))
    return (together - alone) / many


def differences(ours: Mapping[str, Mapping[str, float | None]], stock: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """A sentence for each graded cell on which the two gradebooks differ."""
    cells = sorted({(s, c) for book in (ours, stock) for s, found in book.items() for c in found})
    pairs = [(s, c, ours.get(s, {}).get(c), stock.get(s, {}).get(c)) for s, c in cells]
    return [f"{s}, {c}: {a} with ours, {b} with stock nbgrader" for s, c, a, b in pairs if a != b]


def time_split(course: Path, chapter: Chapter) -> dict[str, float]:
    """Which share of the time after the start goes where, measured with one worker inside this process."""
    from concurrent.futures import ThreadPoolExecutor

    from autograder.course import chapters
    from autograder.grading.batch import Options, grade_course
    from autograder.grading.shared import Zygotes

    jobs = {"jobs": "autograder.grading.batch.grade_job"}
    spent: dict[str, float] = dict.fromkeys((*STEPS, *jobs), 0.0)
    zygotes = Zygotes("full", 1, course, [chapter.name])  # started beforehand: the start is no part of what one submission costs
    with ExitStack() as stack:
        stack.callback(zygotes.close)
        for name, place in (STEPS | jobs).items():
            stack.enter_context(mock.patch(place, _measuring(place, name, spent)))
        students = ("student-000", "student-001", "student-002")
        options = Options(students=students, force=True, make=ThreadPoolExecutor, workers=1, zygotes=zygotes)
        grade_course(Settings(course), [chapters(course)[chapter.name]], options)
    total = spent.pop("jobs") + spent["record the grades"] + spent["render the feedback"]
    shares = {name: seconds / total for name, seconds in spent.items()}
    return shares | {"judge, end the student process": max(0.0, 1 - sum(shares.values()))}


def _measuring(place: str, name: str, spent: dict[str, float]) -> Callable[..., Any]:
    module, _, attribute = place.rpartition(".")
    import pkgutil

    function = getattr(pkgutil.resolve_name(module), attribute)

    def measured(*args: Any, **kwargs: Any) -> Any:
        start = time.monotonic()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.monotonic() - start

    return measured
