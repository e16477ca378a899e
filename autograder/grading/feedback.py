"""The page that a student gets: rendered from verdicts, one file, nothing loaded from elsewhere."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from autograder.card import WORDS, number
from autograder.chapter import Chapter
from autograder.grading.gradebook import Record
from autograder.grading.judging import Graded, GradedCell
from autograder.grading.outputs import is_png, limited, visible

_LOOKS = {"passed": "passed", "partly": "partly", "not attempted": "idle", "not run": "idle"}
_MAX_CODE = 20_000


def feedback_page(student: str, chapter: Chapter, graded: Graded, record: Record | None = None, notes: Sequence[str] = ()) -> str:
    """One self-contained HTML page.

    Parameters
    ----------
    student : whom it is for, or "" on a learner's own machine
    record : the submission in the gradebook, with what graders changed by hand
    notes : what is said on top
    """
    max_score = graded.max_points
    before = record.score if record else graded.points
    score = before - record.penalty if record else before
    return _template().render(
        title=title_of(chapter),
        student=visible(student),
        score=number(score),
        max_score=number(max_score),
        percent=round(100 * score / max_score) if max_score else 0,
        rows=[_row(c, record) for c in graded.cells],
        notes=[visible(n) for n in notes],
        **_lateness(record),
    )


@cache
def _template() -> Template:
    folder = Path(__file__).parent / "templates"
    return Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(
        "feedback.html"
    )


def title_of(chapter: Chapter) -> str:
    """The chapter's own heading."""
    first = next((c.source for c in chapter.cells if c.kind == "markdown"), "")
    heading = re.search(r"^# (.+)$", first, re.M)
    return heading[1].strip() if heading else chapter.slug.replace("-", " ").capitalize()


def _lateness(record: Record | None) -> Mapping[str, Any]:
    if record is None:
        return {"handed_in": "", "penalty": "", "late": "", "before_penalty": ""}
    hours = record.seconds_late / 3600
    late = f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} hours" if hours >= 2 else f"{record.seconds_late / 60:.0f} minutes"
    handed_in = f"{record.timestamp:%Y-%m-%d %H:%M}" if record.timestamp else ""
    penalty = number(record.penalty) if record.penalty else ""
    return {"handed_in": handed_in, "penalty": penalty, "late": late, "before_penalty": number(record.score)}


def _row(cell: GradedCell, record: Record | None) -> dict[str, Any]:
    verdict, slot = cell.verdict, cell.slot
    by_hand = dict(record.by_hand).get(slot.grade_id) if record else None
    return {
        "anchor": slot.grade_id,
        "exercise": slot.exercise,
        "lamps": verdict.lamps,
        "word": WORDS[verdict.status],
        "look": _LOOKS.get(verdict.status, "failed"),
        "points": number(verdict.points if by_hand is None else by_hand),
        "max_points": number(verdict.max_points),
        "card": Markup(verdict._repr_html_()),  # the card escapes what came from a submission
        "by_hand": "" if by_hand is None else number(by_hand),
        "comment": dict(record.comments).get(slot.solution_id, "") if record else "",
        "source": limited(visible(cell.source), _MAX_CODE),
        "outputs": [shown for output in cell.outputs if any((shown := _shown(output)).values())],
    }


def _shown(output: Mapping[str, Any]) -> dict[str, Any]:
    """Text, sanitised HTML or a picture; errors are on the card already."""
    if output["output_type"] == "stream":
        return {"text": output["text"], "html": "", "png": ""}
    data = output.get("data", {})
    png = data.get("image/png", "")
    html = Markup(data.get("text/html", "")) if not png else ""  # sanitised by `outputs.clean_html`
    return {"text": "" if html or png else data.get("text/plain", ""), "html": html, "png": png if png and is_png(png) else ""}
