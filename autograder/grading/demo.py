"""Five sample submissions of a chapter, and the points that each deserves."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from autograder.chapter import Chapter
from autograder.errors import CourseError
from autograder.grading.samples import fill_in
from autograder.quiz import answer_sheet
from autograder.quiz_verdict import quiz_id

_SECTION = re.compile(r"^# %% (\S+)\n", re.M)


@dataclass(frozen=True)
class Sample:
    """One sample submission.

    Attributes
    ----------
    text : the content of its notebook file
    points : exercise → what it deserves
    traps : exercise → the mistake that is recognised
    """

    student: str
    text: str
    points: Mapping[str, float]
    traps: Mapping[str, str]


def sections(path: Path) -> dict[str, str]:
    """A file of solutions: exercise → text. Each begins with a line `# %% exercise`."""
    parts = _SECTION.split(path.read_text(encoding="utf-8"))[1:]
    return {name: text.strip() + "\n" for name, text in zip(parts[::2], parts[1::2])}


def samples(root: Path, chapter: Chapter) -> list[Sample]:
    """The sample submissions of a chapter, made from its class edition.

    Raises
    ------
    CourseError : the chapter has none
    """
    folder = root / "tests" / "samples" / chapter.name
    if not folder.is_dir():
        known = ", ".join(sorted(f.name for f in folder.parent.glob("*/"))) or "none"
        raise CourseError(f"There are no sample submissions of {chapter.name} in {folder.parent}. Chapters that have some: {known}.")
    deserved = yaml.safe_load((folder / "deserved.yaml").read_text(encoding="utf-8"))
    solutions = {id: t.solution for id, t in chapter.tasks.items()}
    solutions[quiz_id(chapter.name)] = answer_sheet(chapter.questions, right=True)
    half = {id: text for id, text in solutions.items() if id in deserved["half"]}
    texts = {"right": solutions, "half": half, "mistakes": sections(folder / "mistakes.py"), "empty": {}}
    notebooks = {name: json.dumps(fill_in(root, chapter, text), indent=1) for name, text in texts.items()}
    notebooks["damaged"] = notebooks["right"][: len(notebooks["right"]) // 2]
    return [_sample(name, text, list(solutions), deserved.get(name) or {}) for name, text in notebooks.items()]


def _sample(student: str, text: str, exercises: list[str], deserved: Mapping[str, list]) -> Sample:
    known = {id: entry if isinstance(entry, list) else [entry] for id, entry in deserved.items()}
    points = {id: float(known.get(id, [0])[0]) for id in exercises}
    return Sample(student, text, points, {id: entry[1] for id, entry in known.items() if len(entry) > 1})
