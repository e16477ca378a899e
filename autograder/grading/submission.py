"""Read what a student handed in. Only the text of solution cells is taken; whatever else the file holds decides nothing."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder.errors import NotebookError

#: Larger files are not read.
MAX_BYTES = 20 << 20
#: A solution cell with more text than this is not run. Python's parser takes memory that grows with the square of some texts.
MAX_CELL = 20_000
_MAX_DIGITS = 18
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n){100,}")


@dataclass(frozen=True)
class Submission:
    """What was taken from a notebook.

    Attributes
    ----------
    sources : id of a solution cell → its text
    notes : id of a solution cell → what the student should know about it
    problem : why nothing could be taken, or ""
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of at most `MAX_BYTES`; links are not followed.

    Raises
    ------
    NotebookError : with a sentence that can be shown to the student
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotebookError(f"There is no file {path.name}.") from None
    except (OSError, ValueError) as error:
        raise NotebookError(f"The file {path.name} cannot be read ({getattr(error, 'strerror', error)}).") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotebookError(f"{path.name} is not a regular file.")
        if found.st_size > MAX_BYTES:
            size = f"{found.st_size >> 20} MB; at most {MAX_BYTES >> 20} MB are read"
            raise NotebookError(f"The file {path.name} has {size}. Clear its outputs.")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    """A fingerprint of a file that was handed in; "missing" or the like where it cannot be read."""
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except NotebookError as error:
        return f"unreadable: {error}"


def read_submission(path: Path, wanted: Collection[str]) -> Submission:
    """What a notebook file holds in the solution cells named `wanted`. Never raises: what is wrong with the file is the `problem`."""
    try:
        _refuse_links(path)
        return take(parse(read_bytes(path), path.name), wanted)
    except NotebookError as error:
        return Submission(problem=str(error))


def _refuse_links(path: Path) -> None:
    """A student's folder, and that of a chapter in it, must be no links: they could lead to a neighbour's work."""
    for folder in (path.parent, path.parent.parent):
        if folder.is_symlink():
            raise NotebookError(f"The folder {folder.name} is a link, and links are not followed. Hand in the file itself.")


def parse(data: bytes, name: str) -> list[Any]:
    """The cells of a notebook file.

    Raises
    ------
    NotebookError : it is none
    """
    try:
        # Numbers of a notebook decide nothing here; Python refuses to read very long ones.
        notebook = json.loads(data.decode("utf-8-sig"), parse_int=_number, parse_float=_number, parse_constant=lambda text: None)
    except UnicodeDecodeError:
        raise NotebookError(f"{name} is no notebook: it is not text in UTF-8.") from None
    except RecursionError:
        raise NotebookError(f"{name} is damaged: it nests too deep.") from None
    except ValueError as error:
        raise NotebookError(f"{name} is damaged: it is not well-formed JSON ({error}).") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        old = isinstance(notebook, dict) and "worksheets" in notebook
        hint = " It has an old format: open it in JupyterLab and save it." if old else ""
        raise NotebookError(f"{name} is no notebook: it has no list of cells.{hint}")
    if notebook.get("nbformat") != 4:
        raise NotebookError(f"{name} has the notebook format {_printable(repr(notebook.get('nbformat'))[:20])}; format 4 is needed.")
    return notebook["cells"]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else 0


def take(cells: list[Any], wanted: Collection[str], id_of: Callable[[Any], str | None] | None = None) -> Submission:
    """The text of the solution cells named `wanted`. Of copies the last one that is not empty counts.

    Parameters
    ----------
    id_of : the name of a cell; nbgrader's id if nothing else is said
    """
    found: dict[str, list[str]] = {}
    for cell in cells:
        id = (id_of or grade_id)(cell)
        if id in wanted:
            found.setdefault(id, []).append(text_of(cell))
    if not found and wanted:
        return Submission(problem=_stranger(cells))
    sources, notes = {}, {}
    for id, texts in found.items():
        sources[id] = _bounded(next((t for t in reversed(texts) if t.strip()), ""))
        if len(texts) > 1:
            notes[id] = (f"This cell stands {len(texts)} times in the notebook; the last one that is not empty was graded.",)
    return Submission(sources, notes)


def grade_id(cell: Any) -> str | None:
    """nbgrader's id of a cell of an untrusted notebook."""
    for key in ("metadata", "nbgrader", "grade_id"):
        cell = cell.get(key) if isinstance(cell, dict) else None
    return cell if isinstance(cell, str) else None


def own_id(cell: Any) -> str | None:
    """nbgrader's id of a cell, else the cell's own: in the self-study edition it says the same."""
    own = cell.get("id") if isinstance(cell, dict) else None
    return grade_id(cell) or (own if isinstance(own, str) else None)


def text_of(cell: dict[str, Any]) -> str:
    """The source of a cell, a text or a list of lines; "" if it is something else."""
    source = cell.get("source")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    # A lone surrogate is legal in JSON and cannot be written as UTF-8.
    return source.encode("utf-8", "replace").decode() if isinstance(source, str) else ""


def _bounded(text: str) -> str:
    """Not much more than is run, without hundreds of blank lines in a row: what highlights code for a page takes the square of both."""
    return _BLANK_LINES.sub(lambda found: f"{found[0].replace(chr(10), ' ')[1:]}\n", text[: MAX_CELL + 1])


def _printable(text: str) -> str:
    """A text of a submission as it may stand in a message: no half characters, no escape sequences."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _stranger(cells: list[Any]) -> str:
    others = sorted({id.partition("-")[0] for id in map(grade_id, cells) if id and id.endswith("-solution")})
    if others:
        return f"This is the notebook of another chapter ({_printable(', '.join(others)[:80])})."
    return "The notebook has none of this chapter's exercise cells. Hand in the class edition, with its cells as they are."
