"""What lies in a hand-out, a folder or a zip. Nothing in it is believed, and nothing is unpacked before somebody asks for it."""

import io
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from autograder.errors import CourseError, NotebookError
from autograder.grading.names import ARCHIVES, NOTEBOOK, ZIP, Trail
from autograder.grading.submission import MAX_BYTES, read_bytes

MAX_ENTRIES = 20_000
#: Bytes that may be unpacked of one student's uploads, and of a whole hand-out.
MAX_STUDENT, MAX_TOTAL = 100 << 20, 4 << 30
_NAME = 1 << 10  # bytes that an entry of a zip counts for, whatever it holds
_ENTRY = b"PK\x01\x02"  # begins an entry in the list of a zip
_MAX_DEPTH = 2  # of a zip that is opened: an upload, or one within it


@dataclass(frozen=True, eq=False)
class Upload:
    """A notebook or a zip in a hand-out.

    Attributes
    ----------
    parts : its path; zips on the way are parts too
    source : the file, or what unpacks it
    problem : why it is not read, or ""
    depth : 1, and more for what lies in a zip
    """

    parts: Trail
    source: Path | Callable[[], bytes] = Path()
    problem: str = ""
    depth: int = 1

    @property
    def path(self) -> str:
        """Its path as a text."""
        return "/".join(self.parts)

    @property
    def is_zip(self) -> bool:
        """Whether it is to be opened, not read."""
        return self.parts[-1].lower().endswith(ZIP)

    def read(self) -> bytes:
        """Its content.

        Raises
        ------
        NotebookError : it cannot be read, or is too large
        """
        if self.problem:
            raise NotebookError(self.problem)
        return read_bytes(self.source) if isinstance(self.source, Path) else self.source()


@dataclass
class Budget:
    """Bytes that may still be read: of one student's uploads, and of what is unpacked for all."""

    left: int
    everybody: "Budget | None" = None

    def read(self, upload: Upload) -> bytes:
        """The content of an upload.

        Raises
        ------
        NotebookError : it cannot be read, or too much has been read
        """
        packed = None if isinstance(upload.source, Path) else self.everybody
        self.spend(0)
        if packed and packed.left <= 0:
            raise NotebookError("the whole zip holds more than can be read.")
        self.left -= MAX_BYTES  # what cannot be read may have cost as much
        data = upload.read()
        self.left += MAX_BYTES - len(data)
        if packed:
            packed.left -= len(data)
        return data

    def spend(self, size: int) -> None:
        """Count bytes.

        Raises
        ------
        NotebookError : there are not so many left
        """
        if self.left <= size:
            raise NotebookError(f"all that was handed in here is more than {MAX_STUDENT >> 20} MB; this was not read.")
        self.left -= size


def contents(origin: Path, stack: ExitStack, told: list[str]) -> list[Upload]:
    """The notebooks and zips of a hand-out, in order.

    Parameters
    ----------
    stack : closes what was opened; uploads cannot be read afterwards
    told : gets a sentence for each thing that is left out and may be nobody's

    Raises
    ------
    CourseError : it is neither a folder nor a zip
    """
    if origin.is_dir():
        return sorted(_in_folder(origin), key=lambda upload: upload.parts)
    if not zipfile.is_zipfile(origin):
        raise CourseError(f"{origin} is neither a folder nor a zip file.")
    try:
        return _in_zip(stack.enter_context(_opened(origin)), (), 1, told)
    except NotebookError as error:
        raise CourseError(f"{origin}: {error}") from None


def inside(upload: Upload, budget: Budget, stack: ExitStack, told: list[str]) -> list[Upload]:
    """The notebooks and zips of an uploaded zip.

    Raises
    ------
    NotebookError : it cannot be opened
    """
    if upload.problem:
        raise NotebookError(upload.problem)
    if upload.depth > _MAX_DEPTH:
        raise NotebookError("zips within zips within zips are not opened.")
    file = upload.source if isinstance(upload.source, Path) else io.BytesIO(budget.read(upload))
    return _in_zip(stack.enter_context(_opened(file, budget)), upload.parts, upload.depth + 1, told)


def _opened(file: Path | io.BytesIO, budget: Budget | None = None) -> zipfile.ZipFile:
    try:
        if budget:
            budget.spend(_entries(file) * _NAME)
        return zipfile.ZipFile(file)
    except NotebookError:
        raise
    except Exception as error:  # names that are no text, sizes that are none: there is no common base
        reason = getattr(error, "strerror", None) or "it is damaged, or none"
        raise NotebookError(f"it cannot be opened as a zip: {reason}.") from None


def _entries(file: Path | io.BytesIO) -> int:
    """At least so many entries as opening the zip would find."""
    if isinstance(file, io.BytesIO):
        return file.getvalue().count(_ENTRY)
    if file.stat().st_size > MAX_STUDENT:
        raise NotebookError(f"it has {file.stat().st_size >> 20} MB; zips of at most {MAX_STUDENT >> 20} MB are opened.")
    with file.open("rb") as opened:
        return sum(part.count(_ENTRY) for part in iter(lambda: opened.read(1 << 24), b""))


def _in_folder(origin: Path) -> Iterator[Upload]:
    unread: list[OSError] = []
    for folder, folders, files in os.walk(origin, onerror=unread.append):
        above = Path(folder).relative_to(origin).parts
        folders[:] = [name for name in folders if not _ignored(name)]
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        yield from (Upload((*above, name), problem="it is a link; links are not followed.") for name in links)
        for name in files:
            if _wanted(name) and not _ignored(name):
                path = Path(folder, name)
                yield Upload((*above, name), path, _kind(name) or _state(path))
    for error in unread:
        parts = Path(error.filename).relative_to(origin).parts
        yield Upload((*parts, "*"), problem=f"it cannot be read ({error.strerror}).")


def _state(path: Path) -> str:
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        return f"it cannot be read ({error.strerror})."
    if stat.S_ISLNK(mode):
        return "it is a link; links are not followed."
    return "" if stat.S_ISREG(mode) else "it is not a regular file."


def _in_zip(archive: zipfile.ZipFile, base: Trail, depth: int, told: list[str]) -> list[Upload]:
    entries, found = archive.infolist(), []
    if len(entries) > MAX_ENTRIES:
        told.append(f"{'/'.join(base) or 'the zip'}: it has {len(entries)} entries; only the first {MAX_ENTRIES} are looked at.")
    for entry in entries[:MAX_ENTRIES]:
        name = PurePosixPath(_text(entry).replace("\\", "/"))
        if entry.is_dir() or not _wanted(name.name) or any(map(_ignored, name.parts)):
            continue
        parts = (*base, *name.parts)
        if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", str(name)):
            told.append(f"{'/'.join([*base, str(name)])}: its name leads out of the zip.")
        else:
            found.append(Upload(parts, partial(_bounded, archive, entry), _kind(name.name) or _refusal(entry), depth))
    return found


def _text(entry: zipfile.ZipInfo) -> str:
    """The name of an entry. Some programs write UTF-8 and do not say so; Python takes that for the letters of a PC of 1981."""
    try:
        return entry.filename if entry.flag_bits & 0x800 else entry.filename.encode("cp437").decode()
    except UnicodeError:
        return entry.filename


def _wanted(name: str) -> bool:
    return name.lower().endswith((NOTEBOOK, ZIP, *ARCHIVES))


def _kind(name: str) -> str:
    return "" if name.lower().endswith((NOTEBOOK, ZIP)) else "archives of this kind are not opened: ask for a notebook or a zip."


def _refusal(entry: zipfile.ZipInfo) -> str:
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "it is a link; links are not followed."
    if entry.flag_bits & 1:
        return "it is encrypted."
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # Python unpacks others whole, however large that is
        return "it is packed in an unusual way, which is not unpacked: make the zip anew."
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


def _ignored(part: str) -> bool:
    return part in ("__MACOSX", ".ipynb_checkpoints") or part.startswith("._")
