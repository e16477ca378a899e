"""Where the course is, and which chapters it has."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.errors import UnknownNameError

if TYPE_CHECKING:
    from autograder.chapter import Chapter


def course_root(start: Path | None = None) -> Path:
    """The folder that holds `chapters/`: above `start` (or the working folder), else where this package was installed from.

    Raises
    ------
    UnknownNameError : if there is none
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parent.parent):
        if (folder / "chapters").is_dir() and (folder / "nbgrader_config.py").exists():
            return folder
    raise UnknownNameError(
        f"No course found in {here} or above: there is no folder with chapters/ and nbgrader_config.py. Run this inside the course."
    )


@lru_cache(maxsize=8)
def chapters(root: Path) -> "dict[str, Chapter]":
    """All chapters by folder name, in order."""
    from autograder.chapter import Chapter  # it takes seconds to import, and who only asks for the root need not wait

    found = sorted(f for f in (root / "chapters").iterdir() if f.is_dir() and (f / f"{f.name.partition('-')[2]}.py").exists())
    return {f.name: Chapter(f) for f in found}


def find_chapter(root: Path, name: str) -> "Chapter":
    """The chapter called `name`: "04-activations", "activations" or "4".

    Raises
    ------
    UnknownNameError : if there is none; names the nearest
    """
    known = chapters(root)
    for chapter in known.values():
        number = chapter.name.partition("-")[0]
        if name in (chapter.name, chapter.slug, number, number.lstrip("0")):
            return chapter
    raise UnknownNameError(f"There is no chapter {name!r}. Chapters: {', '.join(known)}.{nearest(name, [c.slug for c in known.values()])}")


def find_exercise(root: Path, id: str) -> "tuple[Chapter, str]":
    """The chapter that has the exercise `id`, and the id.

    Raises
    ------
    UnknownNameError : if there is none; names the nearest
    """
    for chapter in chapters(root).values():
        if f'exercise="{id}"' in chapter.text and id in chapter.tasks:  # parsing one chapter is slow, looking into all of them is not
            return chapter, id
    known = {task: chapter for chapter in chapters(root).values() for task in chapter.tasks}
    raise UnknownNameError(f"There is no exercise {id!r}.{nearest(id, list(known))} `dlcourse coverage` lists all exercises.")


def nearest(name: str, known: list[str]) -> str:
    """A question that names the known name most like `name`; empty if none is like it."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
