"""Controls for demos: `explore` a figure, `predict` before running a cell, `reveal` after it."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from utils import card, figures, markup
from utils.errors import UsageError
from utils.shown import Shown

FAST = 0.4  # seconds: a figure drawn quicker follows the slider while it moves, a slower one waits until it rests


def explore(draw: Callable[..., Any], /, *, alt: str, **controls: Any) -> None:
    """Show the figure that `draw` makes, and let the learner change what it is made of.

    The default state is a static figure: printed, exported and graded notebooks have it. With a live front end the controls
    above it redraw that same figure in place.

    Parameters
    ----------
    draw : callable
        Called with one keyword argument per control; returns a figure made with `figures.new`.
    alt : str
        What the figure shows. The values of the controls are added to it.
    **controls
        A tuple `(min, max, step, default)` is a slider (of integers when all four are), a list is a menu whose first entry is
        the default, a bool is a check box.

    Raises
    ------
    UsageError
        If a control is none of these. What `draw` raises at its default state is raised; later it is one sentence in place
        of the figure.

    Examples
    --------
    >>> explore(draw, alt="Softmax of five scores", T=(0.1, 10.0, 0.1, 1.0), kind=["relu", "gelu"])  # doctest: +SKIP
    """
    from IPython.display import display

    plans = {name: _plan(name, spec) for name, spec in controls.items()}
    start = time.perf_counter()
    picture = _frame(draw, alt, {name: plan["value"] for name, plan in plans.items()})
    if not (plans and card.live()):
        display(picture)
        return
    stage = _Stage(draw, alt, _make(plans, live=time.perf_counter() - start < FAST), page=_page())
    display(stage.controls())
    stage.handle = display(picture, display_id=True)


@dataclass
class _Stage:
    """The live part of one `explore`: its controls, and the displayed figure that they replace."""

    draw: Callable[..., Any]
    alt: str
    widgets: Mapping[str, Any]
    handle: Any = None
    page: str | None = None
    asleep: Any = None
    resetting: bool = field(default=False, init=False)

    def controls(self) -> Any:
        """The bar of controls, connected."""
        import ipywidgets

        defaults = {name: widget.value for name, widget in self.widgets.items()}
        reset = ipywidgets.Button(description="Reset", icon="undo", tooltip="Back to the first figure", layout={"width": "auto"})
        reset.on_click(lambda _: self.reset(defaults))
        for widget in self.widgets.values():
            widget.observe(lambda _: self.redraw(), names="value")
        self.asleep = card.text_widget("")
        bar = card.row([card.style(), *self.widgets.values(), reset, self.asleep], "dl-controls", wrap=True)
        names = f"In a running notebook this figure has controls: {', '.join(map(_words, self.widgets))}."
        return card.with_fallback(bar, Shown(f"<small>{html.escape(names)}</small>", names))

    def reset(self, defaults: Mapping[str, Any]) -> None:
        """Put all controls back, then draw once."""
        self.resetting = True
        for name, widget in self.widgets.items():
            widget.value = defaults[name]
        self.resetting = False
        self.redraw()

    def redraw(self) -> None:
        """Replace the figure by one of the controls' present values."""
        if self.resetting or self.handle is None:
            return
        if _page() != self.page:
            self.asleep.value = "<i>The page was reloaded. If the figure does not follow, run the cell again.</i>"
        self.handle.update(_safe_frame(self.draw, self.alt, {name: _tidy(w.value) for name, w in self.widgets.items()}))


def _page() -> str | None:
    """Which page of which browser the running code answers. A page that is loaded again cannot update a figure of the one before."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    return None if kernel is None else kernel.get_parent().get("header", {}).get("session")


def _plan(name: str, spec: Any) -> dict[str, Any]:
    """What one control is, as the name of its widget and the widget's arguments."""
    if isinstance(spec, bool):
        return {"widget": "Checkbox", "value": spec, "indent": False}
    if isinstance(spec, list) and spec:
        return {"widget": "Dropdown", "options": spec, "value": spec[0]}
    if isinstance(spec, tuple) and len(spec) == 4:
        return _slider(name, *spec)
    raise UsageError(f"explore: {name}={spec!r} is no control. Give (min, max, step, default), a list of choices, or True or False.")


def _slider(name: str, low: float, high: float, step: float, value: float) -> dict[str, Any]:
    if not (low < high and step > 0 and low <= value <= high):
        raise UsageError(
            f"explore: {name}={(low, high, step, value)} should be (min, max, step, default) with min ≤ default ≤ max, step > 0."
        )
    whole = all(isinstance(number, int) for number in (low, high, step, value))
    format_ = {} if whole else {"readout_format": f".{_decimals(step)}f"}
    return {"widget": "IntSlider" if whole else "FloatSlider", "min": low, "max": high, "step": step, "value": value, **format_}


def _decimals(step: float) -> int:
    """How many decimals tell two neighbouring positions of a slider apart."""
    return next((n for n in range(8) if math.isclose(round(step, n), step)), 8)


def _make(plans: Mapping[str, Mapping[str, Any]], *, live: bool) -> dict[str, Any]:
    """The widgets; `live` sliders report while they move."""
    import ipywidgets

    made = {}
    for name, plan in plans.items():
        kwargs = {key: value for key, value in plan.items() if key != "widget"}
        slider = {"continuous_update": live, "layout": {"width": "320px"}} if "Slider" in plan["widget"] else {"layout": {"width": "auto"}}
        kind = getattr(ipywidgets, plan["widget"])
        made[name] = kind(description=_words(name), style={"description_width": "initial"}, **kwargs, **slider)
    return made


def _frame(draw: Callable[..., Any], alt: str, state: Mapping[str, Any]) -> Shown:
    """The figure of one state."""
    spoken = f"{alt.rstrip('.')} ({_spell(state)})." if state and isinstance(alt, str) and alt.strip() else alt
    return figures.picture(draw(**state), alt=spoken, where="explore")


def _safe_frame(draw: Callable[..., Any], alt: str, state: Mapping[str, Any]) -> Shown:
    """The same, or one sentence when `draw` fails."""
    try:
        return _frame(draw, alt, state)
    except Exception as error:
        text = f"There is no figure for {_spell(state)}: {type(error).__name__}: {error}"
        return Shown(card.static("NO FIGURE", html.escape(text), color="var(--jp-error-color1,#c62828)"), text)


def _tidy(value: Any) -> Any:
    """0.478 for the 0.47800000000000004 that a slider's arithmetic gives."""
    return float(f"{value:.10g}") if isinstance(value, float) else value


def _spell(state: Mapping[str, Any]) -> str:
    return ", ".join(f"{_words(name)} = {value}" for name, value in state.items())


def _words(name: str) -> str:
    return name.replace("_", " ")


@dataclass
class _Prediction:
    options: list[str]
    choice: str | None = None


_predictions: dict[str, _Prediction] = {}  # by key, for this session


def predict(question: str, options: Sequence[str], *, key: str, choice: str | None = None) -> None:
    """Ask what the next cell will show, before it runs. `reveal` with the same `key` answers.

    Parameters
    ----------
    question : str
        Markdown with `$math$`.
    options : sequence of str
        Two to eight different answers.
    key : str
        The demo's id.
    choice : str, optional
        The prediction itself, for front ends without buttons.

    Raises
    ------
    UsageError
        If the options are too few, too many or not all different, or `choice` is none of them.
    """
    from IPython.display import display

    if not 2 <= len(set(options)) == len(options) <= len(card.LETTERS):
        raise UsageError(f"predict({key!r}): give 2 to {len(card.LETTERS)} different options; got {list(options)}.")
    if choice is not None and choice not in options:
        raise UsageError(f"predict({key!r}): choice={choice!r} is none of the options {list(options)}.")
    _predictions[key] = _Prediction(list(options), choice)
    still = _still(question, options, choice)
    display(card.with_fallback(_asking(question, key), still) if card.live() else still)


def _asking(question: str, key: str) -> Any:
    """The card with the question and its buttons."""
    prediction = _predictions[key]
    note = card.text_widget(_note(prediction.choice))
    note.add_class("dl-note")

    def pick(index: int) -> None:
        prediction.choice = prediction.options[index]
        note.value = _note(prediction.choice)
        for other, button in enumerate(buttons):
            button.icon, button.button_style = ("check", "info") if other == index else ("", "")

    box, buttons = card.options(prediction.options, pick)
    head = card.text_widget(f'<div class="dl-kicker">PREDICT</div><div class="dl-text">{markup.block(question)}</div>', css=True)
    return card.column([head, box, note], "dl-card")


def _note(choice: str | None) -> str:
    if choice is None:
        return "<i>Choose one, then run the next cell.</i>"
    return f'<span role="alert" class="dl-text">Your prediction: <b>{markup.inline(choice)}</b>. Now run the next cell.</span>'


_NO_BUTTONS = 'Run this cell to choose. Where there are no buttons, write choice="…" into predict(…).'


def _still(question: str, options: Sequence[str], choice: str | None) -> Shown:
    """The question where nothing can be clicked."""
    rows = "".join(f"<li>{markup.inline(option)}</li>" for option in options)
    hint = _NO_BUTTONS if choice is None else f"Your prediction: <b>{markup.inline(choice)}</b>."
    page = card.static("PREDICT", f'{markup.block(question)}<ol style="list-style-type:lower-alpha">{rows}</ol><i>{hint}</i>')
    lines = [f"  {letter}) {option}" for letter, option in zip(card.LETTERS, options, strict=False)]
    return Shown(page, "\n".join([f"Predict: {question}", *lines, _NO_BUTTONS if choice is None else f"Your prediction: {choice}."]))


def reveal(result: object, *, answer: str, key: str) -> None:
    """Show the result beside the prediction that `predict` with the same `key` asked for.

    Parameters
    ----------
    result : object
        What happened; its text is shown (Markdown with `$math$`).
    answer : str
        The option that was right, as it stands in `predict`.
    key : str
        The demo's id.

    Raises
    ------
    UsageError
        If `answer` is none of the options of `predict`.
    """
    from IPython.display import display

    prediction = _predictions.get(key, _Prediction([answer]))
    if answer not in prediction.options:
        raise UsageError(f"reveal({key!r}): answer={answer!r} is none of the options of predict: {prediction.options}.")
    verdict, color = _compare(prediction.choice, answer)
    shown = _rows(prediction.choice, answer, str(result))
    text = "\n".join([*(f"{name}: {value}" for name, value in shown), verdict])
    display(Shown(card.static("RESULT", _side_by_side(shown, verdict), color=color), text))


def _rows(choice: str | None, answer: str, result: str) -> list[tuple[str, str]]:
    """What stands beside each other; the answer only where neither prediction nor result says it."""
    prediction = [] if choice is None else [("You predicted", choice)]
    solution = [] if choice == answer or answer in result else [("The answer", answer)]
    return [*prediction, *solution, ("Result", result)]


def _side_by_side(pairs: Sequence[tuple[str, str]], verdict: str) -> str:
    names = "color:var(--jp-content-font-color2,#555);padding-right:16px"
    rows = "".join(f'<div style="{names}">{name}</div><div>{markup.inline(value)}</div>' for name, value in pairs)
    return f'<div style="display:grid;grid-template-columns:max-content 1fr">{rows}</div><div style="margin-top:8px"><b>{verdict}</b></div>'


def _compare(choice: str | None, answer: str) -> tuple[str, str]:
    """The verdict in words, and the colour that goes with it."""
    if choice is None:
        return "You have not predicted; next time choose first, it makes the result stick.", "var(--jp-border-color1,#999)"
    if choice == answer:
        return "✓ Just as you predicted.", "var(--jp-success-color1,#2e7d32)"
    return "✗ Not what you predicted. Good: a surprise is what one remembers.", "var(--jp-warn-color1,#e65100)"
