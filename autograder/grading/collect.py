"""Take over what a learning platform hands out, a folder or a zip, into `submitted/`. A bad upload costs its student only."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from autograder.chapter import Chapter
from autograder.course import chapters as all_chapters
from autograder.errors import CourseError, NotebookError
from autograder.grading.blueprint import Blueprint
from autograder.grading.files import write_whole
from autograder.grading.names import Claim, Trail, claims, fold, holds_handouts, marked, rivals, slug_of, stem
from autograder.grading.settings import Settings, writable
from autograder.grading.submission import read_bytes
from autograder.grading.telling import one_line
from autograder.grading.uploads import MAX_STUDENT, MAX_TOTAL, Budget, Upload, contents, inside

_MOST_TOLD = 5  # sentences about one student's uploads
_GRADE_ID = re.compile(rb'"grade_id"\s*:\s*"([\w-]{1,200})"')

Named = tuple[Upload, Claim]


@dataclass
class Collected:
    """What was taken over. `refused` has a sentence for each upload that was not, `notes` what else an instructor should know."""

    new: int = 0
    changed: int = 0
    same: int = 0
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Course:
    """Where uploads are taken to."""

    settings: Settings
    chapters: Sequence[Chapter]

    @cached_property
    def names(self) -> set[str]:
        """Names that are no student's."""
        known = [*all_chapters(self.settings.root).values(), *self.chapters]
        return {name for c in known for name in (c.name, c.slug)}

    @cached_property
    def students(self) -> dict[str, str]:
        """Who has handed in something before: the id, folded, and as it is."""
        return {fold(folder.name): folder.name for folder in self.settings.folder("submitted").resolve().glob("*")}

    @cached_property
    def solutions(self) -> dict[str, set[str]]:
        """Chapter → ids of its solution cells."""
        return {c.name: _solutions(self.settings.root, c) for c in self.chapters}


@dataclass(frozen=True)
class Chosen:
    """The notebook that counts."""

    chapter: Chapter
    claim: Claim
    upload: Upload
    data: bytes


def collect(settings: Settings, chapters: Sequence[Chapter], origin: Path) -> Collected:
    """Copy every notebook of `origin` to `submitted/ID/CHAPTER/slug.ipynb`; an older one is kept as a backup.

    Raises
    ------
    CourseError : there is no notebook in it at all
    """
    writable(settings.folder("submitted").resolve())
    course, collected, budget = Course(settings, chapters), Collected(), Budget(MAX_TOTAL)
    with ExitStack() as stack:
        told: list[str] = []
        uploads = _without_exports(contents(origin, stack, told), course, stack, told)
        claimed = claims([u.parts for u in uploads], course.names, course.students)
        collected.refused += [*_few(told), *_nobodys(uploads, claimed)]
        collected.notes += [*_numbered(settings, claimed.values()), *_found_deeper(claimed.values())]
        for theirs in _by_student(uploads, claimed):
            told = []
            _take(course, theirs, budget, collected, told)
            collected.refused += _few(told)
    if not collected.new + collected.changed + collected.same:
        reasons = "\n".join(collected.refused[:20])
        raise CourseError(f"No notebook could be taken from {origin}.\n{reasons}".rstrip())
    return collected


def _without_exports(uploads: list[Upload], course: Course, stack: ExitStack, told: list[str]) -> list[Upload]:
    """The uploads, but in the place of a zip that is no student's, a platform's export as it was saved, what lies in it."""
    outermost = [u for u in uploads if len(u.parts) == 1]
    if not outermost or not all(u.is_zip and not marked(u.parts) for u in outermost):
        return uploads
    listed = {u: _listed(u) for u in outermost}
    around = [parts for u in uploads for parts in listed.get(u, [u.parts])]
    if not around or not holds_handouts(around, course.names, course.students):
        return uploads
    return [inner for u in uploads for inner in (_unzipped(u, Budget(MAX_STUDENT), stack, told) if u in listed else [u])]


def _listed(upload: Upload) -> list[Trail]:
    with ExitStack() as stack:
        return [u.parts for u in _unzipped(upload, Budget(MAX_STUDENT), stack, [])]


def _unzipped(upload: Upload, budget: Budget, stack: ExitStack, told: list[str]) -> list[Upload]:
    """What lies in a zip; if that is nothing, there is a sentence why."""
    before = len(told)
    try:
        found = inside(upload, budget, stack, told)
    except NotebookError as error:
        told.append(_line(upload, error))
        return []
    if not found and len(told) == before:
        told.append(_line(upload, "there is no notebook in it."))
    return found


def _found_deeper(found: Iterable[Claim]) -> list[str]:
    """A line where all that a folder or zip of an unknown name holds is taken for somebody else's."""
    inside: dict[str, set[str]] = {}
    for claim in found:
        inside.setdefault(claim.around, set()).add(claim.student)
    return [
        f"{one_line(around, 100)} was taken for a folder around what {one_line(min(who), 100)} handed in. If it is a student, "
        "rename what lies in it and take it over again."
        for around, who in inside.items()
        if around and len(who) == 1
    ]


def _nobodys(uploads: Sequence[Upload], claimed: Mapping[Trail, Claim]) -> list[str]:
    """A line for each reason and name of those whose uploads are not taken."""
    first: dict[tuple[str, str], Upload] = {}
    for upload in uploads:
        claim = claimed[upload.parts]
        first.setdefault((claim.problem, claim.student or claim.source), upload)
    return [_line(upload, problem) for (problem, _), upload in first.items() if problem]


def _numbered(settings: Settings, found: Iterable[Claim]) -> list[str]:
    """Who was told apart by a number."""
    groups: dict[str, set[str]] = {}
    for claim in found:
        if claim.namesake and not claim.problem:
            groups.setdefault(claim.namesake, set()).add(claim.student)
    notes = []
    for name, ids in groups.items():
        before = settings.folder("submitted", name)
        old = f" {before} is from before: see whose it is." if before.exists() else ""
        notes.append(one_line(f"{len(ids)} students are called {name!r}; they were taken as {', '.join(sorted(ids))}.{old}"))
    return notes


def _by_student(uploads: Sequence[Upload], claimed: Mapping[Trail, Claim]) -> Iterable[list[Named]]:
    found: dict[str, list[Named]] = {}
    for upload in uploads:
        claim = claimed[upload.parts]
        if not claim.problem:
            found.setdefault(fold(claim.student), []).append((upload, claim))
    return found.values()


def _take(course: Course, uploads: Sequence[Named], everybody: Budget, collected: Collected, told: list[str]) -> None:
    """Take over what one student handed in: a notebook for each chapter."""
    budget = Budget(MAX_STUDENT, everybody)
    with ExitStack() as stack:
        notebooks = [(n, claim) for upload, claim in uploads for n in _notebooks(upload, budget, stack, told)]
        for one, *others in _chosen(course, _in_order(course, notebooks), budget, told):
            try:
                if others:
                    raise NotebookError(rivals(one.claim.student, {c.claim.source for c in (one, *others)}))
                _place(course, one, collected)
            except (CourseError, OSError, RuntimeError) as error:
                told.append(_line(one.upload, error))


def _notebooks(upload: Upload, budget: Budget, stack: ExitStack, told: list[str]) -> Iterator[Upload]:
    """An upload, or the notebooks in it."""
    if upload.is_zip:
        for inner in _unzipped(upload, budget, stack, told):
            yield from _notebooks(inner, budget, stack, told)
    else:
        yield upload


def _in_order(course: Course, notebooks: Sequence[Named]) -> list[Named]:
    """The last attempt first; then those that have a chapter's very name, and those that lie further out."""
    slugs = {c.slug for c in course.chapters}

    def rank(named: Named) -> tuple[int, int, Trail]:
        parts = named[0].parts
        own = stem(parts[-1]).casefold()
        return (0 if own in slugs else 1 if own.rpartition("_")[2] in slugs else 2), len(parts), parts

    return sorted(sorted(notebooks, key=rank), key=lambda named: named[1].when, reverse=True)


def _chosen(course: Course, notebooks: Sequence[Named], budget: Budget, told: list[str]) -> Iterable[list[Chosen]]:
    """The notebooks that count: for each chapter one, or one of each of those who claim to be the student."""
    found: dict[tuple[str, str], Chosen] = {}
    only = course.chapters[0] if len(course.chapters) == 1 else None
    for upload, claim in notebooks:
        try:
            first = found.get((only.name, claim.source)) if only else None
            if first is None:
                data = budget.read(upload)
                chapter = only or chapter_of(course, upload.parts, data)
                first = found.setdefault((chapter.name, claim.source), Chosen(chapter, claim, upload, data))
            if first.upload is not upload:
                raise NotebookError(f"a second notebook of {claim.student} for {first.chapter.name}; {first.upload.path} was taken.")
        except NotebookError as error:
            told.append(_line(upload, error))
    by_chapter: dict[str, list[Chosen]] = {}
    for (name, _), chosen in found.items():
        by_chapter.setdefault(name, []).append(chosen)
    return by_chapter.values()


def _place(course: Course, chosen: Chosen, collected: Collected) -> None:
    student, chapter, data = chosen.claim.student, chosen.chapter, chosen.data
    student, settings = course.students.get(fold(student), student), course.settings
    target = settings.folder("submitted", student, chapter.name).resolve() / f"{chapter.slug}.ipynb"
    if not target.is_relative_to(settings.folder("submitted").resolve()):
        raise CourseError("its name leads out of the folder of submissions.")
    if target.is_symlink() or target.parent.is_symlink():
        raise CourseError(f"{target} is a link; remove it.")
    if not target.exists():
        write_whole(target, data)
        collected.new += 1
    elif _content(target) == data:
        collected.same += 1
    else:
        when = f"{datetime.fromtimestamp(target.stat().st_mtime, UTC):%Y%m%d-%H%M%S-%f}"
        target.replace(target.with_name(f"{target.stem}.{when}.old"))
        write_whole(target, data)
        collected.changed += 1
        _forget_when(target.parent / "timestamp.txt", when, student, collected)


def _content(path: Path) -> bytes | None:
    """What a notebook of before holds; None if it cannot be read as one."""
    try:
        return read_bytes(path)
    except NotebookError:
        return None


def _forget_when(timestamp: Path, when: str, student: str, collected: Collected) -> None:
    """Put aside the time of a notebook that was replaced: it would make a late one early."""
    if os.path.lexists(timestamp):
        timestamp.replace(timestamp.with_name(f"timestamp.{when}.old"))
        collected.notes.append(
            one_line(f"{student}: the notebook is a new one, and the platform does not say when it came; timestamp.txt was put aside.")
        )


def chapter_of(course: Course, parts: Trail, data: bytes) -> Chapter:
    """The chapter that a notebook belongs to: by its solution cells, else by a folder or file name.

    Raises
    ------
    NotebookError : it belongs to none of the course
    """
    ids = {id.decode() for id in _GRADE_ID.findall(data)}  # of a damaged notebook too: its student gets to know
    best = max(course.chapters, key=lambda c: len(ids & course.solutions[c.name]))
    if ids & course.solutions[best.name]:
        return best
    for chapter in course.chapters:
        if {chapter.name, chapter.slug} & {*map(stem, parts), slug_of(parts[-1])}:
            return chapter
    raise NotebookError("it has the cells of no chapter, and its name names none.")


def _solutions(root: Path, chapter: Chapter) -> set[str]:
    try:
        return Blueprint(root, chapter).solution_ids
    except CourseError:
        return set()


def _line(upload: Upload, reason: object) -> str:
    return one_line(f"{upload.path}: {getattr(reason, 'strerror', None) or reason}")


def _few(told: list[str]) -> list[str]:
    """The first of many lines."""
    left = len(told) - _MOST_TOLD
    return [*map(one_line, told[:_MOST_TOLD]), *([f"… and {left} more like the last one."] if left > 0 else [])]
