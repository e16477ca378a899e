"""What `dlcourse grade` does, from names to exit code."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from autograder.chapter import Chapter
from autograder.course import chapters, course_root, find_chapter
from autograder.errors import CourseError
from autograder.grading.batch import Batch, Options, grade_course
from autograder.grading.settings import Settings


def run(
    names: Sequence[str], students: Sequence[str], origin: str | None, workers: int, sandbox: str, force: bool, as_json: bool
) -> int:
    """Collect, grade, tell; returns the exit code."""
    settings = Settings(course_root())
    chosen = [find_chapter(settings.root, n) for n in names]
    chosen = chosen or [c for c in chapters(settings.root).values() if any(settings.folder("submitted").glob(f"*/{c.name}"))]
    if not chosen:
        raise CourseError(f"There is nothing to grade: {settings.folder('submitted')} has no folder ID/CHAPTER.")
    options = Options(tuple(students), workers, sandbox, force)
    batch = grade_course(settings, chosen, options)
    print([(e.student, e.state, sum(v["points"] for v in e.verdicts or [])) for e in batch.entries], batch.warnings)
    return 0
