"""Fixtures for all tests."""

from pathlib import Path

import pytest
from support import CHAPTERS, ROOT

from autograder.chapter import Chapter


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(params=CHAPTERS.values(), ids=list(CHAPTERS), scope="session")
def chapter(request: pytest.FixtureRequest) -> Chapter:
    return request.param
