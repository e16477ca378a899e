"""What each known mistake does, computed once for all workers and all runs.

To tell a mistake by name, the judge compares it with every trap of its exercise, and some traps train a network. What they do depends
on nothing but the chapter and this package, so it is kept on disk, as plain data under the fingerprint of both.
"""

import random
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from autograder.errors import CourseError
from autograder.exercise import Exercise
from autograder.grading.files import write_whole
from autograder.prepared import Prepared, Wrong
from autograder.student.limits import Limits
from autograder.student.wire import decode, encode

_ROOM = Limits(nodes=5_000_000, message=256 << 20)


class Remembered(Prepared):
    """An exercise that keeps in a folder what its traps do, a file for each."""

    def __init__(self, exercise: Exercise, folder: Path) -> None:
        super().__init__(exercise)
        self.folder = folder

    @cached_property
    def wrong_of_traps(self) -> dict[str, dict[tuple, Wrong]]:
        """For each trap, what is wrong with it, by case, entry and kind."""
        found = {}
        traps = [*self.exercise.traps]
        random.SystemRandom().shuffle(traps)  # workers that need them at the same time share the work
        for trap in traps:
            file = self.folder / trap.id
            known = _load(file)
            if known is None:
                known = self.wrong_of(trap)
                _save(file, known)
            found[trap.id] = known
        return {trap.id: found[trap.id] for trap in self.exercise.traps}


def _load(file: Path) -> dict[tuple, Wrong] | None:
    try:
        rows = decode(file.read_bytes(), limits=_ROOM)
        return {(i, path, kind): Wrong(path, kind, text, token) for i, path, kind, text, token in rows}
    except (OSError, CourseError, ValueError, TypeError):
        return None


def _save(file: Path, known: Mapping[tuple, Wrong]) -> None:
    rows = [[i, path, kind, w.text, w.token] for (i, path, kind), w in known.items()]
    with suppress(CourseError):  # what cannot be kept is computed again
        write_whole(file, encode(rows, limits=_ROOM))
