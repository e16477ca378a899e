"""The toy course, in a folder of the test's own."""

import shutil
from pathlib import Path

import pytest

from autograder.chapter import Chapter

HERE = Path(__file__).resolve().parent


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course with one small chapter, 99-toy."""
    shutil.copytree(HERE.parent / "toy_course", tmp_path / "course")
    shutil.copy(HERE.parent.parent / "nbgrader_config.py", tmp_path / "course")
    return tmp_path / "course"


@pytest.fixture(scope="session")
def toy() -> Chapter:
    return Chapter(HERE.parent / "toy_course" / "chapters" / "99-toy")
