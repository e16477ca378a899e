"""The course as nbgrader sees it: `nbgrader_config.py`, its folders, and its database."""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.errors import CourseError
from autograder.lean import lean

if TYPE_CHECKING:
    from nbgrader.coursedir import CourseDirectory


@dataclass(frozen=True)
class Settings:
    """Where things are in a course. Everything that can be set in `nbgrader_config.py` is read from there."""

    root: Path

    @cached_property
    def config(self) -> Any:
        """The configuration as traitlets holds it."""
        lean()
        from traitlets.config import PyFileConfigLoader

        return PyFileConfigLoader("nbgrader_config.py", path=str(self.root)).load_config()

    @cached_property
    def coursedir(self) -> "CourseDirectory":
        """nbgrader's own idea of the course's folders."""
        lean()
        from nbgrader.coursedir import CourseDirectory
        from traitlets.config import Config

        config = Config(self.config)
        config.CourseDirectory.setdefault("root", str(self.root))
        return CourseDirectory(config=config)

    def folder(self, step: str, student: str = ".", chapter: str = ".") -> Path:
        """A folder of the pipeline: `step` is "submitted", "autograded" or "feedback"."""
        name = getattr(self.coursedir, f"{step}_directory")
        return Path(self.coursedir.format_path(name, student, chapter))

    @property
    def work(self) -> Path:
        """Where our own records lie; nbgrader does not look there."""
        return self.root / ".build" / "grading"


def quiet_nbgrader() -> logging.Logger:
    """A logger for nbgrader's parts that keeps to itself all but errors."""
    log = logging.getLogger("autograder.nbgrader")
    log.setLevel(logging.ERROR)
    return log


def writable(folder: Path) -> Path:
    """`folder`, made if needed.

    Raises
    ------
    CourseError : nothing can be written there
    """
    import os

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(f"The folder {folder} cannot be made: {error.strerror}. Check its owner and permissions.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CourseError(f"The folder {folder} is read-only. Check its owner and permissions, or grade a copy of the course.")
    return folder
