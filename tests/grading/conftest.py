"""Courses for the tests of grading."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from course import CHAPTER, ROOT, write_chapter


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with its editions and an empty gradebook that knows the chapter. Not to be written to."""
    from autograder.build import build
    from autograder.course import chapters
    from autograder.grading.register import open_gradebook, register
    from autograder.grading.settings import Settings
    from autograder.grading.worker import blueprint_of

    root = tmp_path_factory.mktemp("built")
    write_chapter(root)
    build(root, list(chapters(root).values()))
    settings = Settings(root)
    with open_gradebook(settings) as gradebook:
        register(settings, gradebook, [blueprint_of(root, CHAPTER)])
    return root


@pytest.fixture
def course(built: Path, tmp_path: Path) -> Path:
    """A course of one's own."""
    return Path(shutil.copytree(built, tmp_path / "course"))


@pytest.fixture(scope="session")
def bench():
    """Judges without a lock: what is tested here is not the sandbox."""
    from autograder.grading.judging import Bench

    with Bench("none") as bench:
        yield bench


@pytest.fixture(scope="session")
def blueprint(built: Path):
    """The chapter's blueprint."""
    from autograder.grading.worker import blueprint_of

    return blueprint_of(built, CHAPTER)


__all__ = ["ROOT"]
