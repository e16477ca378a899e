"""Throw-away courses, in which attacks are handed in beside honest work."""

import hashlib
import json
import secrets
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autograder.attacks.attack import Attack, Place
from autograder.chapter import Chapter
from autograder.course import chapters
from autograder.grading.samples import fill_in

CHAPTER = "04-activations"
#: What honest neighbours solve.
HONEST = ("activations.stable-sigmoid", "activations.zigzag", "activations.cross-entropy-logits")
#: So many attacks share an honest student.
ATTACKS_PER_NEIGHBOUR = 5
UNTOUCHED = "not touched\n"
_KEPT = ("chapters", "source", "nbgrader_config.py", "secret.txt")


@dataclass
class Ground:
    """A throw-away course.

    Attributes
    ----------
    root : its folder
    edition : the course whose chapter is attacked
    """

    root: Path
    edition: Path
    secret: str = field(default_factory=lambda: f"canary-{secrets.token_hex(12)}")
    places: dict[str, Place] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)

    @property
    def chapter(self) -> Chapter:
        """The chapter that is attacked, as the throw-away course has it."""
        return chapters(self.root)[CHAPTER]

    def folder(self, step: str, student: str) -> Path:
        """A student's folder of the pipeline."""
        return self.root / step / student / CHAPTER


def set_up(root: Path, edition: Path, attacks: Sequence[Attack]) -> Ground:
    """A course in which each attack is handed in by one student, and honest work by another one."""
    ground = Ground(root, edition)
    for name in ("chapters", "source"):
        shutil.copytree(edition / name / CHAPTER, root / name / CHAPTER, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(edition / "nbgrader_config.py", root)
    with (root / "chapters" / CHAPTER / "answers.py").open("a", encoding="utf-8") as file:
        file.write(f'\n_CANARY = "{ground.secret}"\n')
    (root / "secret.txt").write_text(ground.secret + "\n")
    for folder in ("home", "tmp", "submitted"):
        (root / folder).mkdir()
    ground.before = fingerprint(root)
    for i, attack in enumerate(attacks):
        _hand_in(ground, attack, f"{attacks[i - i % ATTACKS_PER_NEIGHBOUR].name}-neighbour")
    return ground


def _hand_in(ground: Ground, attack: Attack, neighbour: str) -> None:
    canary = ground.root / "canaries" / attack.name
    canary.mkdir(parents=True)
    (canary / "victim.txt").write_text(UNTOUCHED)
    place = Place(ground.root, canary, attack.student, neighbour, ground.secret, CHAPTER, ground.chapter.slug)
    ground.places[attack.name] = place
    if not ground.folder("submitted", neighbour).exists():
        honest = {id: task.solution for id, task in ground.chapter.tasks.items() if id in HONEST}
        _write(ground, neighbour, json.dumps(fill_in(ground.edition, ground.chapter, honest)))
    if attack.handout:
        return _handout(ground, attack.handout(place), attack.name)
    notebook = fill_in(ground.edition, ground.chapter, {id: place.fill(text) for id, text in attack.solutions.items()})
    made = attack.alter(notebook, place) if attack.alter else notebook
    _write(ground, attack.student, json.dumps(made) if isinstance(made, dict) else made)
    if attack.hand_in:
        attack.hand_in(ground.folder("submitted", attack.student), place)


def _write(ground: Ground, student: str, content: str | bytes) -> None:
    path = ground.folder("submitted", student) / f"{ground.chapter.slug}.ipynb"
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)


def _handout(ground: Ground, entries: Mapping[str, bytes], name: str) -> None:
    folder = ground.root / "downloaded"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in entries.items():
            archive.writestr(path, content)


def fingerprint(root: Path) -> dict[str, str]:
    """What must not change in a course: file → a digest."""
    files = [p for name in _KEPT for p in (root / name, *(root / name).rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
