"""Make a chapter known to the gradebook, through nbgrader's own generate_assignment."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autograder.build.release import alembic_on_path
from autograder.chapter import Chapter
from autograder.errors import CourseError
from autograder.grading.blueprint import Blueprint
from autograder.grading.settings import Settings


def open_gradebook(settings: Settings) -> Any:
    """nbgrader's gradebook of the course; made if there is none.

    Raises
    ------
    CourseError : it cannot be opened
    """
    from nbgrader.api import Gradebook
    from sqlalchemy.exc import SQLAlchemyError

    url = settings.coursedir.db_url
    try:
        with alembic_on_path():  # nbgrader asks it for the version of a new database
            return Gradebook(url, settings.coursedir.course_id)
    except (SQLAlchemyError, OSError) as error:
        raise CourseError(f"The gradebook {url} cannot be opened: {_first_line(error)}. Is its folder writable?") from None


def register(settings: Settings, gradebook: Any, blueprints: Sequence[Blueprint]) -> None:
    """Bring the gradebook's list of graded cells in step with the source edition, where it is not.

    Raises
    ------
    CourseError : nbgrader refuses, as it does when cells are added to a chapter that has submissions
    """
    for blueprint in blueprints:
        if _cells_in(gradebook, blueprint.chapter) != _cells_of(blueprint):
            gradebook.db.remove()  # nbgrader opens the same file
            _generate(settings, blueprint.chapter)


def _cells_of(blueprint: Blueprint) -> dict[str, tuple[str, float | None]]:
    cells = [(c["metadata"].get("nbgrader"), c) for c in blueprint.notebook["cells"]]
    hashed = [(g, "".join(c["source"])) for g, c in cells if g and (g["grade"] or g["locked"])]
    return {g["grade_id"]: (source, g.get("points")) for g, source in hashed}


def _cells_in(gradebook: Any, chapter: Chapter) -> dict[str, tuple[str, float | None]]:
    from nbgrader.api import MissingEntry

    try:
        notebook = gradebook.find_notebook(chapter.slug, chapter.name)
    except MissingEntry:
        return {}
    points = {c.name: c.max_score for c in notebook.grade_cells}
    return {c.name: (c.source, points.get(c.name)) for c in notebook.source_cells if c.locked or c.name in points}


def _generate(settings: Settings, chapter: Chapter) -> None:
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    config = Config(settings.config)
    with tempfile.TemporaryDirectory() as folder, alembic_on_path():
        # The class edition that this writes is thrown away: the committed one stays as it is.
        here = {"root": settings.coursedir.root, "db_url": settings.coursedir.db_url, "release_directory": folder}
        config.merge(Config({"CourseDirectory": here}))
        result = NbGraderAPI(config=config).generate_assignment(chapter.name, force=True, create=True)
    if not result["success"]:
        said = "\n".join(filter(None, (result.get("log"), result.get("error"))))
        if "Cannot add or remove cells" in said:
            raise CourseError(
                f"{chapter.name} has other exercises than when its submissions were graded, and a gradebook cannot mix them. "
                f"Keep the old gradebook, and grade into a new one (move {settings.coursedir.db_url} away)."
            )
        raise CourseError(f"nbgrader could not take {chapter.name} into the gradebook:\n{said}")


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def gradebook_file(settings: Settings) -> Path | None:
    """The file of an SQLite gradebook."""
    url = settings.coursedir.db_url
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None
