"""The verdict on an answer sheet, and its card."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from autograder.quiz import LETTERS, Marked
from autograder.verdict import Verdict


@dataclass(frozen=True, repr=False)
class QuizVerdict(Verdict):
    """A verdict with a line per question. One point each."""

    marked: tuple[Marked, ...] = ()

    def _repr_html_(self) -> str:
        from autograder.card import card

        rows = "".join(f'<li style="margin:6px 0">{_row(m)}</li>' for m in self.marked if m.chosen is not None)
        return card(self).removesuffix("</div>") + f'<ul style="padding-left:1.2em;margin:6px 0">{rows}</ul></div>'


def quiz_verdict(chapter: str, marked: Sequence[Marked]) -> QuizVerdict:
    """Add up an answer sheet; names the misconceptions of the chosen options."""
    points, answered = sum(m.right for m in marked), sum(m.chosen is not None for m in marked)
    status = "not attempted" if not answered else "passed" if points == len(marked) else "partly" if points else "failed"
    message = f"{answered} of {len(marked)} questions answered, {points} right." if answered else "Fill in one letter for each question."
    return QuizVerdict(quiz_id(chapter), float(points), float(len(marked)), status, message=message, marked=tuple(marked))


def quiz_id(chapter: str) -> str:
    """The id under which a chapter's answer sheet is graded: "activations.quiz"."""
    return f"{chapter.partition('-')[2] or chapter}.quiz"


def _row(m: Marked) -> str:
    q = m.question
    if m.chosen == -1:
        return f"<b>{escape(q.id)}</b> ✗ This is none of the letters {', '.join(LETTERS[: len(q.options)])}."
    sign = '<span style="color:#1a7f37">✓ right</span>' if m.right else '<span style="color:#cf222e">✗ not right</span>'
    reason = escape(q.why[m.chosen])
    return f"<b>{escape(q.id)}</b> {sign}: ({LETTERS[m.chosen]}) {escape(q.options[m.chosen])}<br><span>{reason}</span>"


def explanation(m: Marked) -> str:
    """One line of text about one answered question."""
    if m.chosen is None or m.chosen == -1:
        return f"{m.question.id}: no answer" if m.chosen is None else f"{m.question.id}: none of the letters"
    return f"{m.question.id} {'✓' if m.right else '✗'} ({LETTERS[m.chosen]}) {m.question.why[m.chosen]}"
