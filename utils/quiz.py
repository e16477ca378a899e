"""Multiple-choice questions that answer at once."""

from __future__ import annotations

import html
from typing import Any

from utils.errors import CourseError

LETTERS = "abcdefgh"


def ask(question: dict[str, Any]) -> Any:
    """A widget that asks one question of a question bank."""
    import ipywidgets

    missing = {"id", "stem", "options", "answer", "why"} - set(question)
    if missing:
        raise CourseError(f"quiz question {question.get('id', '(no id)')}: {', '.join(sorted(missing))} missing.")
    feedback = ipywidgets.HTMLMath()
    rows = []
    for index, option in enumerate(question["options"]):
        button = ipywidgets.Button(description=LETTERS[index], layout=ipywidgets.Layout(width="3em"))
        button.on_click(lambda _, index=index: setattr(feedback, "value", verdict(question, index)))
        rows.append(ipywidgets.HBox([button, ipywidgets.HTMLMath(html.escape(option))]))
    return ipywidgets.VBox([ipywidgets.HTMLMath(html.escape(question["stem"])), *rows, feedback])


def verdict(question: dict[str, Any], chosen: int) -> str:
    """What the learner reads after choosing option `chosen`, as HTML."""
    why = html.escape(question["why"][chosen])
    if chosen == question["answer"]:
        return f"<b>{LETTERS[chosen]}: right.</b> {why}"
    trap = " This is the common misconception." if chosen == question.get("trap_option") else ""
    return f"<b>{LETTERS[chosen]}: not right.</b>{trap} {why} Try again."
