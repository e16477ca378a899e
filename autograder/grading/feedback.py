"""The page that a student gets: rendered from verdicts, one file, nothing loaded from elsewhere."""

from collections.abc import Sequence

from autograder.chapter import Chapter
from autograder.grading.gradebook import Record
from autograder.grading.judging import Graded


def feedback_page(student: str, chapter: Chapter, graded: Graded, record: Record | None = None, notes: Sequence[str] = ()) -> str:
    """The page."""
    return "".join(c.verdict._repr_html_() for c in graded.cells)
