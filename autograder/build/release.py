"""The class edition, through nbgrader's own generate_assignment."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from autograder.chapter import Chapter
from autograder.errors import CourseError


def generate_release(root: Path, course: Path, chapters: Sequence[Chapter]) -> None:
    """Write `release/` of the throw-away course `course`, which has a `source/`, with the settings of `root`.

    Raises
    ------
    CourseError : with nbgrader's own words, if it refuses
    """
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config, PyFileConfigLoader

    config = PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config()
    config.merge(Config({"CourseDirectory": {"root": str(course), "db_url": f"sqlite:///{course / 'gradebook.db'}"}}))
    api = NbGraderAPI(config=config)
    with alembic_on_path():
        for chapter in chapters:
            result = api.generate_assignment(chapter.name, force=True, create=True)
            if not result["success"]:
                said = "\n".join(filter(None, (result.get("log"), result.get("error"))))
                raise CourseError(f"nbgrader could not make the release edition of {chapter.name}:\n{said}")


@contextmanager
def alembic_on_path() -> Iterator[None]:
    """nbgrader runs `alembic` as it is found on PATH; it lies beside this Python, also where no environment is activated."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before
