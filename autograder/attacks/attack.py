"""One attack: a file under `tests/attacks/GROUP/`.

Such a file is a Python module. Its docstring says in one line what the attack tries. The rest is optional:

    SOLUTIONS = {"activations.zigzag": "text of the cell"}      what is handed in; wrong code, so that it deserves nothing
    DESERVED = {"activations.zigzag": 2}                        what it deserves all the same
    STUDENT = "name"                                            an id other than the file's name
    ALONE = True                                                stock nbgrader does not survive it: grade it in a course of its own
    def alter(notebook, place): return notebook                 change the notebook (a dict), or give the bytes or text of another file
    def hand_in(folder, place): ...                             put more into the folder that is handed in
    def handout(place): return {"bob_1_2_x.ipynb": b"..."}      instead: what a learning platform hands out as a zip
    def success(seen): return "what it reached"                 a sign of success besides those that every attack is checked for

In texts, `@COURSE@`, `@CANARY@` and `@NEIGHBOUR@` stand for the course's folder, a folder that the attack may try to change, and the
id of an honest student.
"""

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from autograder.course import nearest
from autograder.errors import UnknownNameError

#: Folder → what its attacks go after.
GROUPS = {
    "forge": "forge the verdict",
    "read": "read what is hidden",
    "grades": "change stored grades",
    "grader": "harm the grader",
    "student": "harm another student",
    "instructor": "deceive the instructor",
    "machine": "exhaust the machine",
}


@dataclass(frozen=True)
class Place:
    """Where an attack takes place.

    Attributes
    ----------
    canary : a folder outside of the submission's own, with a file `victim.txt`
    neighbour : id of an honest student who is graded in the same run
    secret : a text that stands in the answers file, in the grader's environment and in `secret.txt`
    """

    course: Path
    canary: Path
    student: str
    neighbour: str
    secret: str
    chapter: str
    slug: str

    def fill(self, text: str) -> str:
        """A text with names in the place of marks."""
        for mark, value in (("@COURSE@", self.course), ("@CANARY@", self.canary), ("@NEIGHBOUR@", self.neighbour)):
            text = text.replace(mark, str(value))
        return text


@dataclass(frozen=True)
class Attack:
    """What an attack file says."""

    name: str
    group: str
    says: str
    solutions: Mapping[str, str]
    deserved: Mapping[str, float]
    student: str
    alone: bool
    alter: Callable[[dict[str, Any], Place], Any] | None
    hand_in: Callable[[Path, Place], None] | None
    handout: Callable[[Place], Mapping[str, bytes]] | None
    success: Callable[[Any], str] | None


def load_attacks(folder: Path, names: Sequence[str] = ()) -> list[Attack]:
    """All attacks under `folder`, or those called `names` (a name or a group).

    Raises
    ------
    UnknownNameError : there is none of a name
    """
    found = [_load(path) for group in GROUPS for path in sorted((folder / group).glob("*.py"))]
    for name in names:
        if not any(name in (a.name, a.group) for a in found):
            raise UnknownNameError(f"There is no attack {name!r} in {folder}.{nearest(name, _names(found))}")
    return [a for a in found if not names or a.name in names or a.group in names]


def _names(attacks: Iterable[Attack]) -> list[str]:
    return [*GROUPS, *(a.name for a in attacks)]


def _load(path: Path) -> Attack:
    spec = importlib.util.spec_from_file_location(f"attack_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return _attack(path.stem.replace("_", "-"), path.parent.name, module)


def _attack(name: str, group: str, module: ModuleType) -> Attack:
    given = vars(module)
    functions = {key: given.get(key) for key in ("alter", "hand_in", "handout", "success")}
    return Attack(
        name=name,
        group=group,
        says=(module.__doc__ or "").strip().splitlines()[0],
        solutions=given.get("SOLUTIONS", {}),
        deserved=given.get("DESERVED", {}),
        student=given.get("STUDENT", name),
        alone=given.get("ALONE", False),
        **functions,
    )
