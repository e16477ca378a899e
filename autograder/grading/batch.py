"""Grade many submissions: find what is to be done, let workers judge, write every result whole."""

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder.chapter import Chapter
from autograder.errors import CourseError, SandboxError
from autograder.grading.feedback import feedback_page
from autograder.grading.files import write_whole
from autograder.grading.gradebook import Writer
from autograder.grading.jobs import Entry, find_entries
from autograder.grading.judging import Graded, GradedCell
from autograder.grading.names import unfit
from autograder.grading.pool import MakeExecutor, process_pool, run_jobs, sharing
from autograder.grading.register import open_gradebook, register
from autograder.grading.settings import Settings, writable
from autograder.grading.shared import FORKS, Zygotes, cores
from autograder.grading.telling import one_line
from autograder.grading.timestamps import handed_in
from autograder.grading.worker import Job, blueprint_of, grade_job, warm
from autograder.verdict import Verdict


@dataclass(frozen=True)
class Options:
    """How to grade.

    Attributes
    ----------
    zygotes : those that were started beforehand, if they were; whoever started them closes them
    """

    students: tuple[str, ...] = ()
    workers: int = 0
    sandbox: str = "full"
    force: bool = False
    make: MakeExecutor = process_pool
    zygotes: Zygotes | None = None

    @property
    def share(self) -> bool:
        """Whether workers are forked from this process, and can use what it has started."""
        return self.make is process_pool and FORKS


@dataclass
class Batch:
    """What became of a run."""

    entries: list[Entry] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    interrupted: bool = False

    def count(self, state: str) -> int:
        """How many submissions are in a state."""
        return sum(e.state == state for e in self.entries)


def grade_course(
    settings: Settings,
    chosen: Sequence[Chapter],
    options: Options = Options(),
    started: Callable[[int], None] = lambda total: None,
    advanced: Callable[[Entry], None] = lambda entry: None,
) -> Batch:
    """Grade what was handed in for `chosen` chapters.

    Parameters
    ----------
    started : called with the number of submissions that are to be graded
    advanced : called after each of them

    Raises
    ------
    CourseError : nothing can be graded at all
    """
    for step in ("autograded", "feedback"):
        writable(settings.folder(step).resolve())
    with _alone(settings):
        blueprints = [blueprint_of(settings.root, c.name) for c in chosen]
        batch = _found(settings, [e for b in blueprints for e in find_entries(settings, b, options.students)])
        own = None if options.zygotes else _zygotes(settings, batch, options)
        try:
            todo = _to_be_done(settings, blueprints, batch, options)
            started(len(todo))
            if todo:
                _grade(settings, todo, batch, options, advanced, own or options.zygotes)
        finally:
            if own:
                own.close()
    return batch


def _found(settings: Settings, entries: Sequence[Entry]) -> Batch:
    """A run for those whose names can be ids; who is left out is told."""
    why = {e.student: unfit(e.student) for e in entries}
    closed = [f.name for f in settings.folder("submitted").resolve().glob("*") if f.is_dir() and not os.access(f, os.X_OK)]
    warnings = [
        f"submitted/{one_line(name, 60)} is skipped: a name that {reason} is no student's id." for name, reason in why.items() if reason
    ]
    warnings += [f"submitted/{name} is skipped: it cannot be opened (check its permissions)." for name in sorted(closed)]
    return Batch([e for e in entries if not why[e.student]], warnings)


def _zygotes(settings: Settings, batch: Batch, options: Options) -> Zygotes | None:
    """Start them as early as it is likely that they are needed, if they can be shared."""
    new = [e.chapter.name for e in batch.entries if options.force or not e.record.exists()]
    if not new or not options.share:
        return None
    return Zygotes(options.sandbox, _workers(options, len(new)), settings.root, {*new})


def _to_be_done(settings: Settings, blueprints: Sequence[Any], batch: Batch, options: Options) -> list[Entry]:
    """The submissions that changed since they were graded; closes the gradebook, for workers are forked next."""
    if not batch.entries:
        return []
    with open_gradebook(settings) as gradebook:
        register(settings, gradebook, blueprints)
        writer = Writer(gradebook, settings)
        known = {b.chapter.name: writer.known(b.chapter.name) for b in blueprints}
    return [e for e in batch.entries if options.force or not e.recall(known[e.chapter.name].get(e.student))]


def _grade(
    settings: Settings, todo: list[Entry], batch: Batch, options: Options, advanced: Callable[[Entry], None], zygotes: Zygotes | None
) -> None:
    _ = [e.key for e in todo]  # of what is there now: should a file change before it is read, it is graded again
    for blueprint in {id(e.blueprint): e.blueprint for e in todo}.values():
        warm(blueprint)
    jobs = {
        Job(settings.root, e.chapter.name, e.student, e.notebook, e.result, options.sandbox, backwards=n % 2 == 1): e
        for n, e in enumerate(todo)
    }
    hidden = [settings.folder("submitted").resolve()]
    make = sharing(options.make, zygotes.ready(writable(settings.work), hidden)) if zygotes else options.make
    results = run_jobs(jobs, grade_job, _workers(options, len(jobs)), make)
    try:
        with _interrupts() as asked, open_gradebook(settings) as gradebook:
            writer = Writer(gradebook, settings)
            for job, result in results:
                _finish(writer, jobs[job], result, batch)
                advanced(jobs[job])
                if asked:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        batch.interrupted = True
    finally:
        results.close()


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Ctrl-C raises KeyboardInterrupt, and is remembered: raised within a library's clean-up it would be lost."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _workers(options: Options, jobs: int) -> int:
    return min(options.workers or cores(), jobs)


def _finish(writer: Writer, entry: Entry, result: Graded | BaseException, batch: Batch) -> None:
    """Keep what became of a submission; where that cannot be written, the others go on."""
    if isinstance(result, SandboxError):  # nobody else can be graded either
        raise result
    try:
        if isinstance(result, CourseError):
            raise result
        _keep(writer, entry, result, batch)
    except (CourseError, OSError, UnicodeError) as error:
        entry.state, entry.why = "failed", str(error)
        batch.warnings.append(f"{entry.student}, {entry.chapter.name}: {error}")


def _keep(writer: Writer, entry: Entry, result: Graded | BaseException, batch: Batch) -> None:
    """Grades first, then the page, the record last: a run that is killed in between does this submission again."""
    graded = lost(entry, result) if isinstance(result, BaseException) else result
    timestamp, strange = entry.handed_in
    when = entry.result.parent / "timestamp.txt"
    record = writer.record(entry.chapter.name, entry.chapter.slug, entry.student, graded, timestamp, outdated=handed_in(when.parent)[0])
    if timestamp:
        write_whole(when, f"{timestamp:%Y-%m-%d %H:%M:%S.%f} UTC\n")
    else:
        when.unlink(missing_ok=True)
    entry.notes = (*graded.notes, *filter(None, [strange, graded.problem]))
    entry.verdicts = [c.verdict.as_json() for c in graded.cells]
    entry.state, entry.why = ("failed", "; ".join(graded.failures)) if graded.failures else ("graded", "")
    write_whole(entry.feedback, feedback_page(entry.student, entry.chapter, graded, record, entry.notes))
    entry.remember(record.by_people)
    batch.warnings += [f"{entry.student}, {entry.chapter.name}: {note}" for note in (*entry.notes, *graded.failures)]


def lost(entry: Entry, error: BaseException) -> Graded:
    """An explicit outcome for every cell of a submission that could not be judged."""
    reason = "The grader failed on this submission. This is not the student's fault: tell the instructor."
    failure = f"{type(error).__name__}: {error}"
    cells = [
        GradedCell(
            s, Verdict(s.exercise, 0.0, s.points, "not run", message=reason), failure=failure if s is entry.blueprint.slots[0] else ""
        )
        for s in entry.blueprint.slots
    ]
    return Graded(tuple(cells))


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Refuse to run twice at once on one course: there is one writer."""
    path = writable(settings.work) / "lock"
    with _open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CourseError(f"Another `dlcourse grade` is at work in {settings.root}. Wait until it is done.") from None
        yield


def _open(path: Path) -> Any:
    try:
        return path.open("a")
    except OSError as error:
        raise CourseError(f"{path} cannot be written: {error.strerror}.") from None
