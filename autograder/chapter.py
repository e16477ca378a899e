"""Read what a person wrote about one chapter: `slug.py`, `answers.py`, `quiz.yaml`, `objectives.yaml`."""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from autograder.errors import AuthoringError
from autograder.exercise import Exercise
from autograder.lean import lean
from autograder.prepared import Prepared
from autograder.quiz import Question, load_questions

#: What nbgrader puts in place of a solution.
STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
_REGION = re.compile(r"^(?P<indent>[ \t]*)### BEGIN SOLUTION.*?### END SOLUTION[^\n]*$", re.S | re.M)


@dataclass(frozen=True)
class Cell:
    """One cell of a text notebook. `kind`: "markdown", "code", "setup", "demo", "exercise", "broken", "check" or "quiz"."""

    kind: str
    source: str
    id: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """The visible side of an exercise: its points, the author's solution, and what the learner starts from."""

    id: str
    points: float
    solution: str
    start: str
    asserts: str = ""


class Chapter:
    """One folder under `chapters/`. Parts are read when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name  # "04-activations"
        self.slug = folder.name.partition("-")[2]  # "activations"

    def __repr__(self) -> str:
        return f"Chapter({self.name!r})"

    @cached_property
    def text(self) -> str:
        """The text notebook as it was written."""
        path = self.folder / f"{self.slug}.py"
        if not path.exists():
            raise AuthoringError(f"{path} does not exist. A chapter's text notebook has the name of its folder.")
        return path.read_text(encoding="utf-8")

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells of the text notebook, in order."""
        lean()
        import jupytext

        return [_cell(self.folder / f"{self.slug}.py", c) for c in jupytext.reads(self.text, fmt="py:percent").cells]

    @cached_property
    def setup(self) -> str:
        """The source of the set-up cell."""
        found = [c.source for c in self.cells if c.kind == "setup"]
        if len(found) != 1:
            raise AuthoringError(f"{self.folder}: there are {len(found)} set-up cells (# %% setup=true), not one.")
        return found[0]

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The visible side of every exercise, in the order of the notebook."""
        start = {c.id: c.source for c in self.cells if c.kind == "broken"}
        asserts = {c.id: c.source for c in self.cells if c.kind == "check"}
        return {
            c.id: Task(c.id, float(c.options["points"]), without_marks(c.source), start.get(c.id, stub(c.source)), asserts.get(c.id, ""))
            for c in self.cells
            if c.kind == "exercise"
        }

    @cached_property
    def questions(self) -> list[Question]:
        """The question bank."""
        return load_questions(self.folder / "quiz.yaml")

    @cached_property
    def objectives(self) -> list[dict[str, Any]]:
        """What the chapter must cover."""
        path = self.folder / "objectives.yaml"
        return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []

    @cached_property
    def exercises(self) -> dict[str, Exercise]:
        """The hidden side of every exercise."""
        path = self.folder / "answers.py"
        module = _run_file(path, f"answers_{self.name.replace('-', '_')}")
        found = [v for v in vars(module).values() if isinstance(v, Exercise)]
        unknown = {e.id for e in found} ^ set(self.tasks)
        if unknown:
            raise AuthoringError(f"{self.folder}: {', '.join(sorted(unknown))} stands in only one of {self.slug}.py and answers.py.")
        return {e.id: e for e in found}

    @cached_property
    def prepared(self) -> dict[str, Prepared]:
        """Every exercise with its cases and expected results, computed once and kept."""
        return {id: Prepared(e) for id, e in self.exercises.items()}


def _cell(path: Path, cell: Any) -> Cell:
    meta = dict(cell.metadata)
    if cell.cell_type == "markdown":
        return Cell("markdown", cell.source)
    for kind in ("exercise", "broken", "check", "demo"):
        if kind in meta:
            if kind == "exercise" and not isinstance(meta.get("points"), (int, float)):
                raise AuthoringError(f"{path}: exercise {meta[kind]} needs points=…")
            return Cell(kind, cell.source, meta[kind], meta)
    kind = next((k for k in ("setup", "quiz") if k in meta), "code")
    return Cell(kind, cell.source, "", meta)


def _run_file(path: Path, name: str) -> Any:
    if not path.exists():
        raise AuthoringError(f"{path} does not exist.")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    # Not in sys.modules: its functions are pickled by value, with no module to import on the other side.
    spec.loader.exec_module(module)
    return module


def stub(source: str) -> str:
    """A solution cell as the learner gets it, like nbgrader's ClearSolutions."""
    return _REGION.sub(lambda m: "\n".join(m["indent"] + line for line in STUB), source)


def without_marks(source: str) -> str:
    """A solution cell without the lines that mark its solution."""
    return "\n".join(line for line in source.splitlines() if line.strip() not in ("### BEGIN SOLUTION", "### END SOLUTION"))


def demo_covers(cells: list[Cell]) -> Iterator[tuple[str, list[str]]]:
    """(demo, objectives it covers) for every demo cell."""
    for c in cells:
        if c.kind == "demo":
            yield c.id, str(c.options.get("covers", "")).split()
