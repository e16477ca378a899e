"""The instructor's notebook of a chapter: the frame into which a submission's solutions are put."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import autograder
from autograder.build.notebook import cell_id, solution_id
from autograder.chapter import Chapter
from autograder.errors import CourseError
from autograder.grading.submission import Submission
from autograder.quiz import answer_sheet
from autograder.quiz_verdict import quiz_id


@dataclass(frozen=True)
class Slot:
    """One graded cell.

    Attributes
    ----------
    exercise : "activations.sigmoid"; the answer sheet is "activations.quiz"
    grade_id : nbgrader's id of the cell that is graded
    solution_id : nbgrader's id of the cell in which a learner writes
    points : what it is worth
    start : the text that the learner was given
    """

    exercise: str
    grade_id: str
    solution_id: str
    points: float
    start: str


class Blueprint:
    """A chapter's source edition, read once."""

    def __init__(self, root: Path, chapter: Chapter) -> None:
        self.root, self.chapter = root, chapter
        self.path = root / "source" / chapter.name / f"{chapter.slug}.ipynb"

    @cached_property
    def notebook(self) -> dict[str, Any]:
        """The instructor edition as it was built, each source as one text.

        Raises
        ------
        CourseError : there is none, or it does not fit the chapter
        """
        try:
            notebook = json.loads(self.path.read_text(encoding="utf-8"))
            for cell in notebook["cells"]:
                cell["source"] = "".join(cell["source"])
            graders = [c["metadata"].get("nbgrader", {}) for c in notebook["cells"]]
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise CourseError(f"{self.path} cannot be read ({error}). Run `dlcourse build {self.chapter.name}`.") from None
        if {g["grade_id"]: g["points"] for g in graders if g.get("grade")} != {s.grade_id: s.points for s in self.slots}:
            raise CourseError(f"{self.path} is not of this chapter's text. Run `dlcourse build {self.chapter.name}`.")
        return notebook

    @cached_property
    def slots(self) -> list[Slot]:
        """The graded cells: exercises in the order of the notebook, then the answer sheet."""
        slots = [Slot(t.id, cell_id(t.id), solution_id(t.id), t.points, t.start) for t in self.chapter.tasks.values()]
        questions, quiz = self.chapter.questions, quiz_id(self.chapter.name)
        if questions:
            slots.append(Slot(quiz, cell_id(quiz), solution_id(quiz), float(len(questions)), answer_sheet(questions)))
        return slots

    @cached_property
    def solution_ids(self) -> set[str]:
        """nbgrader's ids of the cells in which learners write."""
        return {slot.solution_id for slot in self.slots}

    @cached_property
    def fingerprint(self) -> str:
        """Changes when anything changes on which a verdict of this chapter depends: the chapter, or how it is judged."""
        engine = Path(autograder.__file__).parent
        judges = sorted([*engine.glob("*.py"), *(engine / "student").glob("*.py")])
        parts = [self.path, *sorted(p for p in self.chapter.folder.iterdir() if p.is_file()), *judges]
        return hashlib.sha256(b"\0".join(p.name.encode() + b"\0" + p.read_bytes() for p in parts)).hexdigest()

    def rebuild(self, submission: Submission) -> dict[str, Any]:
        """The instructor's notebook with the solutions of `submission`; in the place of a missing one stands the start."""
        sources = {slot.solution_id: submission.sources.get(slot.solution_id, slot.start) for slot in self.slots}
        return self.notebook | {"cells": [_rebuilt(cell, sources) for cell in self.notebook["cells"]]}


def _rebuilt(cell: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    metadata = {key: value for key, value in cell["metadata"].items() if key != "dlcourse"}
    source = sources.get(metadata.get("nbgrader", {}).get("grade_id"), cell["source"])
    return {**cell, "metadata": metadata, "source": source}
