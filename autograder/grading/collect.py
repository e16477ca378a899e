"""Take over what a learning platform hands out, a folder or a zip, into `submitted/`. Nothing in it is believed or unpacked blindly."""

import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from autograder.chapter import Chapter
from autograder.errors import CourseError, NotebookError
from autograder.grading.blueprint import Blueprint
from autograder.grading.files import write_whole
from autograder.grading.settings import Settings, writable
from autograder.grading.submission import MAX_BYTES, grade_id, parse, read_bytes

MAX_ENTRIES = 20_000
#: Bytes that all notebooks of one zip may have together.
MAX_TOTAL = 4 << 30
_MAX_DEPTH = 2  # zips within a zip

_MOODLE = re.compile(r"(?P<who>.+)_\d+_assignsubmission_file_?$")
_CANVAS = re.compile(r"(?P<who>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_(?P<file>.+)$")
_ATTEMPT = re.compile(r"(?:.*?_)?(?P<who>[^_]+)_attempt_[\d-]+_(?P<file>.+)$")
_SAFE = re.compile(r"[\w.@+ ,'-]{1,120}", re.UNICODE)


@dataclass(frozen=True)
class Found:
    """One notebook in what was handed out; `read` gives its bytes. `box` is the zip that it was uploaded in, if any."""

    path: PurePosixPath
    read: Callable[[], bytes]
    box: PurePosixPath | None = None


@dataclass
class Collected:
    """What was taken over. `refused` has a sentence for each entry that was not."""

    new: int = 0
    changed: int = 0
    same: int = 0
    refused: list[str] = field(default_factory=list)


def collect(settings: Settings, chapters: Sequence[Chapter], origin: Path) -> Collected:
    """Copy every notebook of `origin` to `submitted/ID/CHAPTER/slug.ipynb`; an older one is kept as a backup.

    Raises
    ------
    CourseError : there is no notebook in it at all
    """
    writable(settings.folder("submitted").resolve())
    collected, taken = Collected(), {}
    for found in _notebooks(origin, collected.refused):
        try:
            _take(settings, chapters, found, collected, taken)
        except (NotebookError, CourseError) as error:
            collected.refused.append(f"{found.path}: {error}")
    if not taken:
        reasons = "\n".join(collected.refused[:20])
        raise CourseError(f"No notebook could be taken from {origin}.\n{reasons}".rstrip())
    return collected


def _take(settings: Settings, chapters: Sequence[Chapter], found: Found, collected: Collected, taken: dict[Path, PurePosixPath]) -> None:
    data = found.read()
    chapter = chapter_of(settings.root, chapters, found.path, data)
    student = _uploader(found, chapters)
    target = settings.folder("submitted", student, chapter.name).resolve() / f"{chapter.slug}.ipynb"
    if not target.is_relative_to(settings.folder("submitted").resolve()):
        raise CourseError("its name leads out of the folder of submissions.")
    if target in taken:
        raise CourseError(f"a second notebook of {student} for {chapter.name}; {taken[target]} was taken.")
    taken[target] = found.path
    _place(target, data, collected)


def _place(target: Path, data: bytes, collected: Collected) -> None:
    if target.is_symlink() or target.parent.is_symlink():
        raise CourseError(f"{target} is a link; remove it.")
    if not target.exists():
        collected.new += 1
    elif target.read_bytes() == data:
        collected.same += 1
        return
    else:
        when = datetime.fromtimestamp(target.stat().st_mtime, UTC)
        target.replace(target.with_name(f"{target.stem}.{when:%Y%m%d-%H%M%S-%f}.old"))
        collected.changed += 1
    write_whole(target, data)


def chapter_of(root: Path, chapters: Sequence[Chapter], path: PurePosixPath, data: bytes) -> Chapter:
    """The chapter that a notebook belongs to: by its solution cells, else by a folder or file name, else the only one.

    Raises
    ------
    NotebookError : it belongs to none of `chapters`
    """
    try:
        ids = {grade_id(cell) for cell in parse(data, path.name)}
    except NotebookError:
        ids = set()  # a damaged notebook is taken over: its student gets to know
    best = max(chapters, key=lambda c: len(ids & _solutions(root, c)))
    if ids & _solutions(root, best):
        return best
    named = [c for c in chapters if {c.name, c.slug} & {*path.parts, _slug(path.name)}]
    if named or len(chapters) == 1:
        return (named or list(chapters))[0]
    raise NotebookError("it has the cells of no chapter, and its name names none.")


def _solutions(root: Path, chapter: Chapter) -> set[str]:
    try:
        return Blueprint(root, chapter).solution_ids
    except CourseError:
        return set()


def _slug(name: str) -> str:
    """The notebook's own name in what a platform or a browser made of it: `…_activations-1.ipynb` is `activations`."""
    stem = PurePosixPath(name).stem.rpartition("_")[2]
    return re.sub(r"(?:-Copy\d+|-\d+| ?\(\d+\))+$", "", stem)


def student_of(path: PurePosixPath, chapters: Sequence[Chapter]) -> str:
    """Whose notebook it is, by the names that platforms give.

    Canvas `lastfirst_12345_67890_activations.ipynb` (the number is the user), Moodle `Name_12345_assignsubmission_file_/activations.ipynb`,
    nbgrader `ID/CHAPTER/activations.ipynb` and `ps1_ID_attempt_2026-01-30-15-00-00_activations.ipynb`, and `ID.ipynb` or `ID/….ipynb`.

    Raises
    ------
    NotebookError : the name names nobody
    """
    stem, names = path.stem, {n for c in chapters for n in (c.name, c.slug)}
    folders = [p for p in path.parts[:-1] if p not in names]
    moodle = next((m["who"] for p in folders if (m := _MOODLE.fullmatch(p))), None)
    attempt, canvas = _ATTEMPT.fullmatch(stem), _CANVAS.fullmatch(stem)
    if moodle or attempt or canvas:
        who = moodle or (attempt["who"] if attempt else f"{canvas['who']}_{canvas['id']}")  # type: ignore[index]
    elif _slug(path.name) in names:
        who = folders[-1] if folders else ""
    else:
        who = folders[-1] if folders and path.parts[-2] in names else stem
    if not _SAFE.fullmatch(who) or who.startswith(".") or not who.strip(" ."):
        raise NotebookError("its name does not say whose it is." if not who else f"{who[:60]!r} cannot be a student's id.")
    return who.strip()


def _uploader(found: Found, chapters: Sequence[Chapter]) -> str:
    """Whose a notebook is. Names within an uploaded zip are its uploader's choice: the platform's name of the zip comes first."""
    if found.box is None:
        return student_of(found.path, chapters)
    named = found.box.with_suffix(".ipynb")
    if _CANVAS.fullmatch(named.stem) or _ATTEMPT.fullmatch(named.stem) or any(map(_MOODLE.fullmatch, named.parts)):
        return student_of(named, chapters)
    folder = named.parent
    return student_of(folder / f"{chapters[0].slug}.ipynb" if folder.name else found.path, chapters)


def _notebooks(origin: Path, refused: list[str]) -> Iterator[Found]:
    if origin.is_dir():
        yield from _in_folder(origin, refused)
    elif zipfile.is_zipfile(origin):
        with zipfile.ZipFile(origin) as archive:
            yield from _in_zip(archive, PurePosixPath(), refused)
    else:
        raise CourseError(f"{origin} is neither a folder nor a zip file.")


def _in_folder(origin: Path, refused: list[str]) -> Iterator[Found]:
    for path in sorted(origin.rglob("*")):
        name = PurePosixPath(path.relative_to(origin).as_posix())
        if _ignored(name):
            continue
        if path.is_symlink() or not path.resolve().is_relative_to(origin.resolve()):
            refused.append(f"{name}: it is a link; links are not followed.")
        elif path.is_file() and path.suffix == ".zip" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from _in_zip(archive, name.parent, refused, 1, name)
        elif path.is_file() and path.suffix == ".ipynb":
            yield Found(name, lambda path=path: read_bytes(path))


def _in_zip(
    archive: zipfile.ZipFile, base: PurePosixPath, refused: list[str], depth: int = 0, box: PurePosixPath | None = None
) -> Iterator[Found]:
    total = 0
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        refused.append(f"{base}: a zip of {len(entries)} entries; only the first {MAX_ENTRIES} are looked at.")
    for entry in entries[:MAX_ENTRIES]:
        name = base / entry.filename.replace("\\", "/")
        if entry.is_dir() or _ignored(name) or name.suffix not in (".ipynb", ".zip"):
            continue
        reason = _refusal(entry, name)
        total += entry.file_size
        if reason or total > MAX_TOTAL:
            refused.append(f"{name}: {reason or 'the zip holds more than can be read.'}")
        elif name.suffix == ".ipynb":
            yield Found(name, lambda entry=entry: _bounded(archive, entry), box)
        else:
            yield from _inner(archive, entry, name, refused, depth, box or name)


def _inner(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: PurePosixPath, refused: list[str], depth: int, box: PurePosixPath
) -> Iterator[Found]:
    import io

    try:
        if depth >= _MAX_DEPTH:
            raise NotebookError("zips within zips within zips are not opened.")
        with zipfile.ZipFile(io.BytesIO(_bounded(archive, entry))) as inner:
            yield from _in_zip(inner, name.parent, refused, depth + 1, box)
    except (zipfile.BadZipFile, NotebookError) as error:
        refused.append(f"{name}: {error}")


def _refusal(entry: zipfile.ZipInfo, name: PurePosixPath) -> str:
    if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", str(name)):
        return "its name leads out of the zip."
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "it is a link; links are not followed."
    if entry.flag_bits & 1:
        return "it is encrypted."
    if entry.file_size > MAX_BYTES:
        return f"it has {entry.file_size >> 20} MB; at most {MAX_BYTES >> 20} MB are read."
    return ""


def _bounded(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """An entry's content; what a zip says about sizes is not believed."""
    try:
        with archive.open(entry) as file:
            data = file.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise NotebookError(f"it cannot be unpacked: {error}") from None
    except Exception as error:  # zlib.error and the like have no common base
        raise NotebookError(f"it cannot be unpacked: {type(error).__name__}") from None
    if len(data) > MAX_BYTES:
        raise NotebookError(f"it unpacks to more than {MAX_BYTES >> 20} MB.")
    return data


def _ignored(name: PurePosixPath) -> bool:
    return any(part in ("__MACOSX", ".ipynb_checkpoints") or part.startswith("._") for part in name.parts)
