"""What each known mistake does, computed once for all workers and all runs.

To tell a mistake by name, the judge compares it with every trap of its exercise, and some traps train a network. What they do depends
on nothing but the chapter and this package, so it is kept on disk, as plain data under the fingerprint of both.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from autograder.errors import CourseError
from autograder.exercise import Exercise
from autograder.grading.files import write_whole
from autograder.prepared import Prepared, Wrong
from autograder.student.limits import Limits
from autograder.student.wire import decode, encode

_ROOM = Limits(nodes=5_000_000, message=256 << 20)


class Remembered(Prepared):
    """An exercise that keeps in a file what its traps do."""

    def __init__(self, exercise: Exercise, file: Path) -> None:
        super().__init__(exercise)
        self.file = file

    @cached_property
    def wrong_of_traps(self) -> dict[str, dict[tuple, Wrong]]:
        """For each trap, what is wrong with it, by case, entry and kind."""
        known = _load(self.file)
        if known is None:
            known = super().wrong_of_traps
            _save(self.file, known)
        return known


def _load(file: Path) -> dict[str, dict[tuple, Wrong]] | None:
    try:
        rows = decode(file.read_bytes(), limits=_ROOM)
        return {
            trap: {(i, path, kind): Wrong(path, kind, text, token) for i, path, kind, text, token in found} for trap, found in rows.items()
        }
    except (OSError, CourseError, ValueError, TypeError, AttributeError):
        return None


def _save(file: Path, known: Mapping[str, Mapping[tuple, Wrong]]) -> None:
    rows: dict[str, Any] = {t: [[i, path, kind, w.text, w.token] for (i, path, kind), w in found.items()] for t, found in known.items()}
    with suppress(CourseError):  # what cannot be kept is computed again
        write_whole(file, encode(rows, limits=_ROOM))
