"""What `dlcourse demo` does: the sample submissions go through nbgrader's own commands."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from autograder.build.release import alembic_on_path
from autograder.chapter import Chapter
from autograder.course import chapters
from autograder.errors import CourseError
from autograder.grading import summary
from autograder.grading.batch import Batch, Options, grade_course
from autograder.grading.demo import Sample, samples
from autograder.grading.gradebook import scores_of
from autograder.grading.settings import Settings, writable


def run(root: Path, chapter: Chapter, as_json: bool, sandbox: str) -> int:
    """Set up a course, grade through nbgrader, write feedback, tell; returns the exit code."""
    say = (lambda text: None) if as_json else (lambda text: click.echo(text))
    say(f"Five sample submissions of {chapter.name}: right, half, mistakes, empty, damaged.")
    course, made = set_up(root, chapter)
    say("nbgrader autograde: every solution runs locked in, is judged outside, and is recorded in an SQLite gradebook …")
    _nbgrader(course, sandbox, "generate_assignment", chapter.name, "--force")
    _nbgrader(course, sandbox, "autograde", chapter.name, "--force")
    scores = scores_of(Settings(course), chapter.name)
    say("Feedback pages …\n")
    batch = grade_course(Settings(course), [chapters(course)[chapter.name]], Options(sandbox=sandbox))
    wrong = undeserved(made, scores, batch)
    _tell(course, batch, wrong, as_json)
    return 1 if wrong else 0


def set_up(root: Path, chapter: Chapter) -> tuple[Path, list[Sample]]:
    """A fresh course under `.build/demo` that shares the chapters of this one."""
    course = root / ".build" / "demo"
    shutil.rmtree(course, ignore_errors=True)
    writable(course)
    shutil.copy(root / "nbgrader_config.py", course)
    for folder in ("chapters", "source"):
        (course / folder).mkdir()
        shutil.copytree(root / folder / chapter.name, course / folder / chapter.name)
    made = samples(root, chapter)
    for sample in made:
        path = course / "submitted" / sample.student / chapter.name / f"{chapter.slug}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(sample.text, encoding="utf-8")
    return course, made


def _nbgrader(course: Path, sandbox: str, *arguments: str) -> None:
    with alembic_on_path():
        environment = {**os.environ, "DLCOURSE_SANDBOX": sandbox, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-m", "nbgrader", *arguments]
        done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CourseError(f"`nbgrader {' '.join(arguments)}` in {course} failed:\n{done.stderr[-3000:]}")


def undeserved(made: list[Sample], scores: Mapping[str, Mapping[str, float | None]], batch: Batch) -> list[str]:
    """A sentence for each exercise that did not get what it deserves."""
    told = {(e.student, v["exercise"]): v for e in batch.entries for v in e.verdicts or []}
    found = []
    for s in made:
        for exercise, points in s.points.items():
            verdict, recorded = told.get((s.student, exercise), {}), scores.get(s.student, {}).get(exercise.replace(".", "-"))
            got = verdict.get("points"), recorded, verdict.get("trap")
            if got[:2] != (points, points) or (exercise in s.traps and got[2] != s.traps[exercise]):
                found.append(f"{s.student}, {exercise}: {got[0]} points ({got[1]} through nbgrader), mistake {got[2]}; deserved: {points} "
                             f"points, mistake {s.traps.get(exercise)}")  # fmt: skip
    return found


def _tell(course: Path, batch: Batch, wrong: list[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**summary.as_json(batch), "undeserved": wrong}, ensure_ascii=False))
        return
    summary.show(batch, Console(width=None if sys.stdout.isatty() else 120, highlight=False))
    click.echo("\n".join(f"NOT DESERVED: {w}" for w in wrong) or "Every student got exactly the points that the sample deserves.")
    click.echo(f"\nGradebook: {course / 'gradebook.db'}\nFeedback, one page for each student:")
    for entry in batch.entries:
        click.echo(f"  {entry.feedback}")
