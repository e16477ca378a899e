"""Which submissions there are, and which of them have been graded as they are."""

import glob
import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from autograder.chapter import Chapter
from autograder.course import nearest
from autograder.errors import UnknownNameError
from autograder.grading.blueprint import Blueprint
from autograder.grading.files import write_whole
from autograder.grading.gradebook import Known
from autograder.grading.settings import Settings
from autograder.grading.submission import digest
from autograder.grading.timestamps import handed_in


@dataclass
class Entry:
    """One submission: where it lies, and where its results go.

    Attributes
    ----------
    state : "queued", "graded", "unchanged" or "failed"
    why : the reason of a failure
    verdicts : one dict for each graded cell, as `Verdict.as_json` gives them
    """

    settings: Settings
    blueprint: Blueprint
    student: str
    folder: Path
    state: str = "queued"
    why: str = ""
    verdicts: list[dict[str, Any]] | None = None
    notes: tuple[str, ...] = ()

    @property
    def chapter(self) -> Chapter:
        """Its chapter."""
        return self.blueprint.chapter

    @property
    def notebook(self) -> Path:
        """The notebook that was handed in."""
        return self.folder / f"{self.chapter.slug}.ipynb"

    @property
    def result(self) -> Path:
        """The graded notebook."""
        return self.settings.folder("autograded", self.student, self.chapter.name) / f"{self.chapter.slug}.ipynb"

    @property
    def feedback(self) -> Path:
        """The page for the student."""
        return self.settings.folder("feedback", self.student, self.chapter.name) / f"{self.chapter.slug}.html"

    @property
    def record(self) -> Path:
        """Our own record of how it was graded."""
        return self.settings.work / self.chapter.name / f"{self.student}.json"

    @cached_property
    def handed_in(self) -> tuple[datetime | None, str]:
        """When it was handed in, and what is strange about that."""
        return handed_in(self.folder)

    @cached_property
    def key(self) -> str:
        """Changes when the submission or its chapter changes."""
        parts = [digest(self.notebook), str(self.handed_in), self.blueprint.fingerprint]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def remember(self, by_people: str) -> None:
        """Write the record; the last step of grading a submission.

        Parameters
        ----------
        by_people : what its page says of graders and of times, as `gradebook.Record` puts it
        """
        kept = {"key": self.key, "state": self.state, "why": self.why, "verdicts": self.verdicts, "notes": self.notes}
        kept["by_people"] = by_people
        write_whole(self.record, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")

    def recall(self, known: Known | None) -> bool:
        """Take over the results of an earlier run, if they are about this very submission and the gradebook has them and nothing new."""
        try:
            kept = json.loads(self.record.read_text(encoding="utf-8"))
            scores = {v["exercise"].replace(".", "-"): v["points"] for v in kept["verdicts"]}
            same = kept["key"] == self.key and kept["state"] == "graded"
            same = same and known is not None and known.scores == scores and known.by_people == kept["by_people"]
            same = same and self.result.exists() and self.feedback.exists()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        if not same:
            return False
        self.state, self.verdicts, self.notes = "unchanged", kept["verdicts"], tuple(kept["notes"])
        return True


def find_entries(settings: Settings, blueprint: Blueprint, students: Collection[str] = ()) -> list[Entry]:
    """The submissions of one chapter, by student.

    Raises
    ------
    UnknownNameError : one of `students` has handed in nothing
    """
    found = {student: Entry(settings, blueprint, student, folder) for student, folder in _folders(settings, blueprint.chapter.name)}
    missing = [s for s in students if s not in found]
    if missing:
        where = settings.folder("submitted", missing[0], blueprint.chapter.name)
        hint = nearest(missing[0], list(found))
        raise UnknownNameError(f"{missing[0]!r} has handed in nothing for {blueprint.chapter.name}: there is no folder {where}.{hint}")
    return [entry for student, entry in sorted(found.items()) if not students or student in students]


def _folders(settings: Settings, chapter: str) -> list[tuple[str, Path]]:
    anybody = "\ue000"  # a folder's own name may hold what glob would take for a pattern
    pattern = glob.escape(str(settings.folder("submitted", anybody, chapter))).replace(anybody, "*")
    name = settings.coursedir.submitted_directory
    regexp = re.compile(settings.coursedir.format_path(name, "(?P<student>[^/]+)", re.escape(chapter), escape=True))
    matches = ((regexp.fullmatch(path), Path(path)) for path in glob.glob(pattern))
    return [(m["student"], path) for m, path in matches if m and path.is_dir() and not m["student"].startswith(".")]
