"""What `dlcourse grade` does, from names to exit code."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from autograder.chapter import Chapter
from autograder.course import chapters, course_root, find_chapter
from autograder.errors import CourseError
from autograder.grading import summary
from autograder.grading.batch import Batch, Options, grade_course
from autograder.grading.collect import collect
from autograder.grading.settings import Settings


def run(names: Sequence[str], origin: str | None, options: Options, as_json: bool) -> int:
    """Collect, grade, tell; returns the exit code."""
    settings = Settings(course_root())
    chosen = [find_chapter(settings.root, n) for n in names]
    notes = _collect(settings, chosen, origin) if origin else []
    chosen = chosen or _handed_in(settings)
    with _progress(as_json) as bar:
        batch = grade_course(settings, chosen, options, bar.started, bar.advanced)
    batch.warnings[:0] = notes
    if not batch.entries and not batch.warnings:
        raise CourseError(f"There is nothing to grade for {', '.join(c.name for c in chosen)} in {settings.folder('submitted').resolve()}.")
    tell(batch, settings, as_json)
    return 1 if batch.interrupted or batch.count("failed") or batch.count("queued") else 0


def _collect(settings: Settings, chosen: list[Chapter], origin: str) -> list[str]:
    found = collect(settings, chosen or list(chapters(settings.root).values()), Path(origin))
    click.echo(f"{found.new} new, {found.changed} changed, {found.same} as before, {len(found.refused)} refused.", err=True)
    return [*found.notes, *found.refused]


def _handed_in(settings: Settings) -> list[Chapter]:
    folder = settings.folder("submitted").resolve()
    found = [c for c in chapters(settings.root).values() if any(folder.glob(f"*/{c.name}"))]
    if not found:
        raise CourseError(f"There is nothing to grade: {folder} holds no ID/CHAPTER/NAME.ipynb. `--from` takes what a platform hands out.")
    return found


class _Bar:
    """A progress bar with rate and time left, on stderr; silent where nobody looks."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def started(self, total: int) -> None:
        """So many submissions are to be graded."""
        if total:
            self.task = self.progress.add_task("grading", total=total, rate="")

    def advanced(self, entry: Any) -> None:
        """One more is graded."""
        self.progress.advance(self.task)
        speed = self.progress.tasks[0].finished_speed or self.progress.tasks[0].speed
        self.progress.update(self.task, rate=f"{speed:.1f} a second" if speed else "")


@contextmanager
def _progress(quiet: bool) -> Iterator[_Bar]:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()]  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as progress:
        yield _Bar(progress)


def tell(batch: Batch, settings: Settings, as_json: bool) -> None:
    """Print what became of a run."""
    if as_json:
        click.echo(json.dumps(summary.as_json(batch)))
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    summary.show(batch, console)
    unchanged = batch.count("unchanged")
    words = [f"{batch.count('graded')} graded", f"{unchanged} unchanged since they were graded" if unchanged else ""]
    words += [f"{batch.count(state)} {word}" for state, word in (("failed", "failed"), ("queued", "not done yet")) if batch.count(state)]
    console.print(", ".join(filter(None, words)) + f". Feedback: {settings.folder('feedback').resolve()}", soft_wrap=True, markup=False)
    if batch.interrupted:
        console.print("Interrupted. What is graded is safe; run the same command again to go on.")
