"""How success is seen: what an attack left in the gradebook, in notebooks and pages, and on the machine."""

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from autograder.attacks.attack import Attack, Place
from autograder.attacks.course import HONEST, UNTOUCHED, Ground, fingerprint

#: What an attack writes where it should not be able to.
PLANTED = "planted-mark"
#: What stands in the notebooks of a hand-out, which belong to `UPLOADERS`.
UPLOADED, UPLOADERS = "uploaded-mark", {"aaron_56", "mallory"}
#: In the output of a submission these run, call home, or look like our own verdicts.
_ACTIVE = re.compile(
    r"<\s*(script|iframe|object|embed|svg|form|base|meta|link|style|img|video|audio)\b|\bon[a-z]+\s*=|javascript:|\bstyle\s*=", re.I
)
_PASSIVE = {"text/plain", "image/png", "text/html"}


@dataclass(frozen=True)
class Seen:
    """What an attack can be judged by.

    Attributes
    ----------
    points : exercise → what the gradebook has; None if it has no grade
    """

    ground: Ground
    attack: Attack
    place: Place
    points: dict[str, float | None]

    @cached_property
    def notebook(self) -> dict[str, Any]:
        """The graded notebook; without cells if there is none."""
        return self._notebook_of(self.attack.student)

    def _notebook_of(self, student: str) -> dict[str, Any]:
        path = self.ground.folder("autograded", student) / f"{self.place.slug}.ipynb"
        try:
            return json.loads(path.read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError):
            return {"cells": []}

    @cached_property
    def course_outputs(self) -> set[str]:
        """Kinds of output, and HTML, that an honest student's notebook has too: the course's own demos make them, where they are run."""
        shown = [o.get("data", {}) for o in _shown_by_own_cells(self._notebook_of(self.place.neighbour))]
        return {mime for data in shown for mime in data} | {"".join(data.get("text/html", "")) for data in shown}

    @cached_property
    def page(self) -> str:
        """The feedback page, or ""."""
        path = self.ground.folder("feedback", self.attack.student) / f"{self.place.slug}.html"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    @cached_property
    def own_outputs(self) -> list[dict[str, Any]]:
        """What the submission's own cells show in the graded notebook."""
        return _shown_by_own_cells(self.notebook)

    @cached_property
    def own_text(self) -> str:
        """What the submission's own cells printed."""
        return "".join("".join(o.get("text", "")) for o in self.own_outputs)

    @cached_property
    def bearers(self) -> set[str]:
        """Students in whose names an upload of somebody else was taken."""
        found = (self.ground.root / "submitted").glob("*/*/*.ipynb")
        plain = [p for p in found if p.is_file() and not p.is_symlink() and p.stat().st_size < 1 << 20]
        return {p.parts[-3] for p in plain if UPLOADED.encode() in p.read_bytes()} - UPLOADERS


def _shown_by_own_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Outputs of all cells but the graded ones, where verdicts stand."""
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code" and not c["metadata"].get("nbgrader", {}).get("grade")]
    return [o for c in cells for o in c.get("outputs", [])]


def recorded(root: Path) -> dict[str, dict[str, float | None]]:
    """Student → exercise → the points in the gradebook."""
    query = """select a.student_id, c.name, g.auto_score from grade g join submitted_notebook n on g.notebook_id = n.id
               join submitted_assignment a on n.assignment_id = a.id join base_cell c on c.id = g.cell_id"""
    found: dict[str, dict[str, float | None]] = {}
    try:
        with sqlite3.connect(root / "gradebook.db") as db:
            for student, cell, score in db.execute(query):
                found.setdefault(student, {})[cell] = score
    except sqlite3.DatabaseError:
        return {}
    return found


def findings(ground: Ground, attack: Attack, points: dict[str, dict[str, float | None]]) -> list[str]:
    """What an attack reached, each as a sentence; nothing if it was held."""
    place = ground.places[attack.name]
    seen = Seen(ground, attack, place, points.get(attack.student, {}))
    found = [*_undeserved(seen), *_read(seen), *_written(seen), *_neighbour(seen, points), *_active(seen)]
    if not attack.handout and None in (*seen.points.values(), None if not seen.points else 0):
        found.append("the student has no grade")
    own = attack.success(seen) if attack.success else ""
    return [*found, own] if own else found


def _undeserved(seen: Seen) -> Iterator[str]:
    deserved = {id.replace(".", "-"): points for id, points in seen.attack.deserved.items()}
    more = sum((got or 0) - deserved.get(cell, 0) for cell, got in seen.points.items() if (got or 0) > deserved.get(cell, 0))
    if more:
        yield f"{more:g} undeserved points"


def _read(seen: Seen) -> Iterator[str]:
    if seen.place.secret in json.dumps(seen.notebook) + seen.page:
        yield "a hidden text stands in the graded work"


def _written(seen: Seen) -> Iterator[str]:
    if sorted(p.name for p in seen.place.canary.iterdir()) != ["victim.txt"] or (seen.place.canary / "victim.txt").is_symlink():
        yield "a file was made outside"
    elif (seen.place.canary / "victim.txt").read_text() != UNTOUCHED:
        yield "a file was changed outside"


def _neighbour(seen: Seen, points: dict[str, dict[str, float | None]]) -> Iterator[str]:
    tasks, got = seen.ground.chapter.tasks, points.get(seen.place.neighbour, {})
    deserved = {id.replace(".", "-"): tasks[id].points for id in HONEST}
    if (
        not got
        or any(got.get(cell) != most for cell, most in deserved.items())
        or sum(v or 0 for v in got.values()) != sum(deserved.values())
    ):
        yield "another student's grade is not what it should be"
    files = [p for step in ("submitted", "autograded", "feedback") for p in (seen.ground.root / step / seen.place.neighbour).rglob("*")]
    texts = [p.read_bytes() for p in files if p.is_file()]
    if any(mark.encode() in text for mark in (PLANTED, UPLOADED) for text in texts):
        yield "another student's files were changed"


def _active(seen: Seen) -> Iterator[str]:
    for output in seen.own_outputs:
        data = output.get("data", {})
        strange, html = sorted(set(data) - _PASSIVE - seen.course_outputs), "".join(data.get("text/html", ""))
        if strange or (html not in seen.course_outputs and _ACTIVE.search(html)):
            yield f"active content in the graded notebook: {strange[0] if strange else 'HTML'}"
            break
    prose = "".join("".join(c["source"]) for c in seen.notebook["cells"] if c["cell_type"] == "markdown")
    if re.search(r"<\s*(script|iframe|img)\b", prose, re.I):
        yield "active content in the notebook's prose"
    if _Page.dangers(seen.page):
        yield "active content in the feedback page"
    if len(json.dumps(seen.own_outputs)) > 8 << 20:
        yield "outputs of more than 8 MB were kept"


class _Page(HTMLParser):
    """Looks for what runs or loads something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag, a handler or an address that is active."""
        if tag in ("script", "iframe", "object", "embed", "svg", "form", "base", "link", "video", "audio"):
            self.found.append(tag)
        for name, value in attrs:
            outward = name in ("src", "href", "srcset", "action") and not (value or "").startswith(("#", "data:image/png;base64,"))
            if name.startswith("on") or outward:
                self.found.append(f"{tag} {name}")

    @classmethod
    def dangers(cls, page: str) -> list[str]:
        """What is active in a page."""
        parser = cls()
        parser.feed(page)
        return parser.found


def changed_course(ground: Ground) -> list[str]:
    """Files of the course that are not what they were."""
    after = fingerprint(ground.root)
    return sorted(name for name in ground.before.keys() | after.keys() if ground.before.get(name) != after.get(name))
