"""Controls for demos: `explore` a figure, `predict` before running, `reveal` after."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence
from typing import Any

from utils import figures
from utils.errors import CourseError

#: key -> options and choice of every prediction asked in this session
_predictions: dict[str, dict[str, Any]] = {}

SLOW = 0.25  # seconds a redraw may take and still follow the slider while it moves


def explore(draw: Callable[..., Any], /, *, alt: str, **controls: Any) -> None:
    """Show `draw` at its default state, with controls that redraw it."""
    from IPython.display import display

    plan = {name: _plan(name, spec) for name, spec in controls.items()}
    state = {name: kwargs["value"] for name, (_, kwargs) in plan.items()}
    start = time.perf_counter()
    bundle = _frame(draw, state, alt)
    slow = time.perf_counter() - start > SLOW
    widgets = _make(plan, slow)
    if widgets:
        display(_bar(list(widgets.values())))
    handle = display(bundle, raw=True, display_id=True)
    _connect(widgets, lambda: handle and handle.update(_safe_frame(draw, {k: w.value for k, w in widgets.items()}, alt), raw=True))


def _plan(name: str, spec: Any) -> tuple[str, dict[str, Any]]:
    """The ipywidgets class and its arguments for one control."""
    if isinstance(spec, bool):
        return "Checkbox", {"value": spec, "indent": False}
    if isinstance(spec, list) and spec:
        return "Dropdown", {"options": spec, "value": spec[0]}
    if isinstance(spec, tuple) and len(spec) == 4:
        low, high, step, value = spec
        if not (low < high and step > 0 and low <= value <= high):
            raise CourseError(f"explore: {name}={spec} should be (min, max, step, default) with min <= default <= max and step > 0.")
        kind = "IntSlider" if all(isinstance(v, int) for v in spec) else "FloatSlider"
        return kind, {"min": low, "max": high, "step": step, "value": value}
    raise CourseError(f"explore: {name}={spec!r} is no control. Give (min, max, step, default), a list of choices, or True/False.")


def _make(plan: dict[str, tuple[str, dict[str, Any]]], slow: bool) -> dict[str, Any]:
    try:
        import ipywidgets
    except ImportError:
        return {}
    made = {}
    for name, (kind, kwargs) in plan.items():
        live = {"continuous_update": not slow} if "Slider" in kind else {}
        if kind == "FloatSlider":
            live["readout_format"] = f".{decimals(kwargs['step'])}f"
        made[name] = getattr(ipywidgets, kind)(description=name.replace("_", " "), style={"description_width": "initial"}, **kwargs, **live)
    return made


def decimals(step: float) -> int:
    """How many decimals a slider of this step must show."""
    return next((n for n in range(8) if abs(round(step, n) - step) < 1e-9 * abs(step)), 8)


def _bar(widgets: list[Any]) -> Any:
    import ipywidgets

    return ipywidgets.HBox(widgets, layout=ipywidgets.Layout(flex_flow="row wrap"))


def _connect(widgets: dict[str, Any], redraw: Callable[[], None]) -> None:
    for widget in widgets.values():
        widget.observe(lambda change: redraw(), names="value")


def _frame(draw: Callable[..., Any], state: dict[str, Any], alt: str) -> dict[str, str]:
    fig = draw(**state)
    figures.check(fig, alt, "explore")
    return figures.bundle(fig, alt)


def _safe_frame(draw: Callable[..., Any], state: dict[str, Any], alt: str) -> dict[str, str]:
    try:
        return _frame(draw, state, alt)
    except Exception as error:
        values = ", ".join(f"{name} = {value}" for name, value in state.items())
        text = f"No figure for {values}: {type(error).__name__}: {error}"
        return {"text/html": f"<p>{html.escape(text)}</p>", "text/plain": text}


def predict(question: str, options: Sequence[str], *, key: str) -> None:
    """Ask for a prediction before the next cell is run."""
    import ipywidgets
    from IPython.display import display

    if len(options) < 2 or len(set(options)) != len(options):
        raise CourseError(f"predict({key!r}): give at least two different options, got {list(options)}.")
    _predictions[key] = {"options": list(options), "choice": None}
    note = ipywidgets.HTML("<em>Choose, then run the next cell.</em>")
    buttons = [ipywidgets.Button(description=option, layout=ipywidgets.Layout(width="auto")) for option in options]

    def choose(button: Any) -> None:
        _predictions[key]["choice"] = button.description
        note.value = f"Your prediction: <b>{html.escape(button.description)}</b>. Now run the next cell."

    for button in buttons:
        button.on_click(choose)
    head = ipywidgets.HTMLMath(f"<b>Predict.</b> {html.escape(question)}")
    display(ipywidgets.VBox([head, ipywidgets.HBox(buttons, layout=ipywidgets.Layout(flex_flow="row wrap")), note]))


def reveal(result: object, *, answer: str, key: str) -> None:
    """Show the result beside the prediction."""
    from IPython.display import display

    asked = _predictions.get(key, {"options": [answer], "choice": None})
    if answer not in asked["options"]:
        raise CourseError(f"reveal({key!r}): answer {answer!r} is none of the options {asked['options']}.")
    choice = asked["choice"]
    if choice is None:
        verdict = "You have not predicted; here is the result."
    elif choice == answer:
        verdict = f"You predicted: {choice}. That is what happens."
    else:
        verdict = f"You predicted: {choice}. Not this time: {answer}."
    text = f"{verdict}\nResult: {result}"
    display({"text/plain": text, "text/html": f"<p>{html.escape(text)}</p>".replace("\n", "<br>")}, raw=True)
