"""Where nbgrader believes a submission's folder, make it careful. nbgrader has no setting for these two, so they are replaced.

- `timestamp.txt` that is no time raises within nbgrader, and its student is not graded. Here it counts as none.
- Whatever else lies in the folder is copied beside the graded notebook, links followed. Of a chapter only `timestamp.txt` is taken.
"""

import stat
from datetime import datetime
from pathlib import Path

import nbgrader.converters.base
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import find_all_files

from autograder.course import chapters
from autograder.grading.timestamps import handed_in

_MOST = 1_000


def install() -> None:
    """Replace both in this process. Called from `nbgrader_config.py`."""
    CourseDirectory.get_existing_timestamp = _timestamp
    nbgrader.converters.base.find_all_files = _files


def _timestamp(self: CourseDirectory, dest_path: str) -> datetime | None:
    found, strange = handed_in(Path(dest_path))
    if strange:
        self.log.warning("%s: %s", dest_path, strange)
    return found


def _files(path: str, exclude: list[str] | None = None) -> list[str]:
    if (Path.cwd() / "chapters").is_dir() and Path(path).name in chapters(Path.cwd()):
        return [str(file) for file in [Path(path) / "timestamp.txt"] if _is_small(file)]
    return [f for f in find_all_files(path, exclude) if not Path(f).is_symlink()]


def _is_small(path: Path) -> bool:
    """Whether this is a file, and no larger than a time."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size <= _MOST
