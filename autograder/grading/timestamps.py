"""When a submission was handed in: nbgrader's `timestamp.txt`, read with care."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from autograder.errors import NotebookError
from autograder.grading.submission import read_bytes

_MOST = 200
_FIRST_YEAR, _LAST_YEAR = 2000, 2200


def handed_in(folder: Path) -> tuple[datetime | None, str]:
    """The time in `folder/timestamp.txt` (UTC, without zone, as nbgrader keeps it), and what is strange about it.

    A time that cannot be read counts as none, as if the file were not there.
    """
    try:
        text = read_bytes(folder / "timestamp.txt")[: _MOST + 1].decode("utf-8", "replace").strip()
    except NotebookError as error:
        return None, f"timestamp.txt was ignored: {error}" if _is_there(folder / "timestamp.txt") else ""
    if not text:
        return None, "timestamp.txt is empty and was ignored."
    found = parse_time(text)
    if found is None:
        return None, f"timestamp.txt was ignored: {text[:40]!r} is no time."
    return found, f"timestamp.txt lies in the future: {found:%Y-%m-%d %H:%M} UTC." if found > _now() + timedelta(minutes=5) else ""


def parse_time(text: str) -> datetime | None:
    """A time as nbgrader reads it; None for anything that is none."""
    from nbgrader.utils import parse_utc

    if len(text) > _MOST:
        return None
    try:
        found = parse_utc(text)
    except Exception:
        return None
    return found if _FIRST_YEAR <= found.year <= _LAST_YEAR else None


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it may be: nobody can look
        return True
    return True


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
