"""Multiple-choice questions that answer at once."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from utils import card, markup
from utils.errors import UsageError
from utils.shown import Shown


def ask(question: Mapping[str, Any]) -> Any:
    """A widget that asks one question and says at once whether, and why, the chosen option is right.

    Parameters
    ----------
    question : mapping
        One entry of a chapter's `quiz.yaml`: `id`, `stem`, `options`, `answer` (index), `why` (a sentence an option) and, where an
        option is a known misconception, `trap_option` (index). Texts are Markdown with `$math$`.

    Returns
    -------
    ipywidgets.VBox
        Shown when it is a cell's last expression. Where widgets do not run, it shows as text with the answer folded away.

    Raises
    ------
    UsageError
        If a field is missing or does not fit the others.
    """
    check(question)
    feedback = card.text_widget("")
    feedback.add_class("dl-note")

    def pick(index: int) -> None:
        feedback.value = verdict(question, index)
        _mark(buttons, index, right=index == question["answer"])

    box, buttons = card.options(question["options"], pick)
    kicker = f'<div class="dl-kicker">QUESTION {html.escape(str(question["id"]))}</div>'
    stem = card.text_widget(f'{kicker}<div class="dl-text">{markup.block(question["stem"])}</div>', css=True)
    return card.with_fallback(card.column([stem, box, feedback], "dl-card"), _still(question))


def check(question: Mapping[str, Any]) -> None:
    """Refuse a question that cannot be asked.

    Raises
    ------
    UsageError
        Names the question and what does not fit.
    """
    where = f"quiz question {question.get('id', 'without id')}"
    missing = [field for field in ("id", "stem", "options", "answer", "why") if field not in question]
    if missing:
        raise UsageError(f"{where}: {', '.join(missing)} missing.")
    n, answer, trap = len(question["options"]), question["answer"], question.get("trap_option")
    if not 2 <= n <= len(card.LETTERS):
        raise UsageError(f"{where}: {n} options; give 2 to {len(card.LETTERS)}.")
    if len(question["why"]) != n:
        raise UsageError(f"{where}: {n} options but {len(question['why'])} reasons in why; give one a option, in the same order.")
    if answer not in range(n):
        raise UsageError(f"{where}: answer is {answer!r}, but the options are numbered 0 to {n - 1}.")
    if trap is not None and (trap not in range(n) or trap == answer):
        raise UsageError(f"{where}: trap_option is {trap!r}; it should number a wrong option, 0 to {n - 1} without {answer}.")


def verdict(question: Mapping[str, Any], chosen: int) -> str:
    """What the learner reads after choosing option number `chosen`, as HTML: right or not in words, the reason, the misconception."""
    letter, why = card.LETTERS[chosen], markup.inline(question["why"][chosen])
    if chosen == question["answer"]:
        return _alert(f"<b>✓ {letter} is right.</b> {why}", "var(--jp-success-color1,#2e7d32)")
    trap = "; it is a common misconception" if chosen == question.get("trap_option") else ""
    return _alert(f"<b>✗ {letter} is not right{trap}.</b> {why} <i>Try again.</i>", "var(--jp-error-color1,#c62828)")


def _alert(body: str, color: str) -> str:
    return f'<div role="alert" class="dl-text" style="border-left:3px solid {color};padding:2px 0 2px 10px">{body}</div>'


def _mark(buttons: list[Any], chosen: int, *, right: bool) -> None:
    """Mark the last choice on its button, with a sign beside the colour."""
    for index, button in enumerate(buttons):
        here = index == chosen
        button.button_style = ("success" if right else "danger") if here else ""
        button.icon = ("check" if right else "times") if here else ""


def _still(question: Mapping[str, Any]) -> Shown:
    """The question where nothing can be clicked, with the answer folded away."""
    options, answer, stem = question["options"], question["answer"], question["stem"]
    rows = "".join(f"<li>{markup.inline(option)}</li>" for option in options)
    solution = f"<b>{card.LETTERS[answer]}.</b> {markup.inline(question['why'][answer])}"
    body = f'{markup.block(stem)}<ol style="list-style-type:lower-alpha">{rows}</ol><details><summary>Answer</summary>{solution}</details>'
    lines = [f"  {letter}) {markup.plain(option)}" for letter, option in zip(card.LETTERS, options, strict=False)]
    kicker = f"QUESTION {html.escape(str(question['id']))}"
    return Shown(card.static(kicker, body), "\n".join([markup.plain(stem), *lines]))
