"""What the interactive pieces share: one look in light and dark themes, buttons, and a fallback where widgets do not run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from utils import markup
from utils.shown import Shown

LETTERS = "abcdefgh"

#: For widgets. The names start with dl- so that nothing else on the page changes; the colours follow the theme.
_CSS = """<style>
.dl-card { border: 1px solid var(--jp-border-color2, #ddd); border-left: 4px solid var(--jp-brand-color1, #1976d2);
  border-radius: 6px; padding: 10px 16px 12px; margin: 4px 0; max-width: 760px; overflow: visible;
  background: var(--jp-layout-color1, #fff); }
.dl-card .widget-html, .dl-card .widget-htmlmath { height: auto; margin: 0; }
.dl-card .widget-html-content, .dl-card .widget-htmlmath-content { font-size: 14px; line-height: 1.5;
  color: var(--jp-content-font-color1, #222); white-space: normal; }
.dl-card > .widget-htmlmath { width: auto; } .dl-card > .widget-htmlmath > .widget-htmlmath-content { flex: 1 1 auto; min-width: 0; }
.dl-card .dl-text p { margin: 0 0 .5em; } .dl-card .dl-text > :last-child { margin-bottom: 0; }
.dl-card .dl-text pre { margin: .4em 0 .6em; padding: 6px 10px; background: var(--jp-layout-color2, #f3f3f3);
  overflow-x: auto; line-height: 1.35; }
.dl-card .dl-text code { font-family: var(--jp-code-font-family, monospace); font-size: 13px; background: var(--jp-layout-color2, #f3f3f3);
  border-radius: 3px; padding: 1px 4px; color: inherit; }
.dl-card .dl-text pre code { padding: 0; background: none; }
.dl-kicker { font-size: 11px; font-weight: 600; letter-spacing: .08em; color: var(--jp-content-font-color2, #555); margin-bottom: 2px; }
.dl-options { margin-top: 8px; overflow: visible; gap: 4px; }
.dl-row { position: relative; align-items: center; gap: 10px; padding: 3px 6px; border-radius: 5px; overflow: visible; }
.dl-row:hover { background: var(--jp-layout-color2, #f3f3f3); }
.dl-row .jupyter-button { flex: none; position: static; }
.dl-row .jupyter-button::after { content: ""; position: absolute; inset: 0; z-index: 1; }
.dl-card .jupyter-button { height: auto; min-height: 30px; margin: 0; padding: 4px 6px; line-height: 1.4; white-space: nowrap;
  border: 1px solid var(--jp-border-color1, #bbb); border-radius: 5px; overflow: visible; font-size: 14px; }
.dl-card .jupyter-button:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 2px; }
.dl-note { margin-top: 8px !important; }
.dl-controls { gap: 2px 18px; align-items: center; padding: 6px 12px; margin: 4px 0 6px; width: fit-content; max-width: 100%;
  overflow: visible; box-sizing: border-box;
  border: 1px solid var(--jp-border-color2, #ddd); border-radius: 6px; }
.dl-controls select { padding-right: 26px; }
.dl-controls .widget-label { font-weight: 600; }
</style>"""


def text_widget(body: str, *, css: bool = False) -> Any:
    """HTML whose `$math$` is typeset; `css` brings the style along (once a card)."""
    import ipywidgets

    return ipywidgets.HTMLMath((_CSS if css else "") + body)


def style() -> Any:
    """The style sheet alone, as a widget that takes no room."""
    import ipywidgets

    return ipywidgets.HTML(_CSS, layout={"display": "none"})


def column(children: Sequence[Any], *classes: str) -> Any:
    """Widgets below each other, with CSS classes."""
    import ipywidgets

    return _classed(ipywidgets.VBox(list(children)), classes)


def row(children: Sequence[Any], *classes: str, wrap: bool = False) -> Any:
    """Widgets beside each other, with CSS classes."""
    import ipywidgets

    layout = ipywidgets.Layout(flex_flow="row wrap") if wrap else ipywidgets.Layout()
    return _classed(ipywidgets.HBox(list(children), layout=layout), classes)


def _classed(widget: Any, classes: Sequence[str]) -> Any:
    for name in classes:
        widget.add_class(name)
    return widget


def options(texts: Sequence[str], pick: Callable[[int], None]) -> tuple[Any, list[Any]]:
    """Lettered options, one a row; a click anywhere in row i calls `pick(i)`. Returns the box and its buttons."""
    import ipywidgets

    layout = ipywidgets.Layout(width="52px")
    buttons = [
        ipywidgets.Button(description=letter, tooltip=markup.plain(text).replace("$", ""), layout=layout)
        for letter, text in zip(LETTERS, texts, strict=False)
    ]
    for index, button in enumerate(buttons):
        button.on_click(lambda _, index=index: pick(index))
    rows = [
        row([button, text_widget(f'<span class="dl-text">{markup.inline(text)}</span>')], "dl-row") for button, text in zip(buttons, texts)
    ]
    return column(rows, "dl-options"), buttons


def live() -> bool:
    """Whether a Jupyter kernel runs this code, so that widgets may find somebody to show them."""
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def with_fallback(widget: Any, still: Shown) -> Any:
    """Let `widget` display as `still` where widgets do not run (exported pages, terminals); returns it."""
    as_widget = widget._repr_mimebundle_
    widget._repr_mimebundle_ = lambda **kwargs: {**as_widget(**kwargs), "text/html": still.html, "text/plain": still.text}
    return widget


def static(kicker: str, body: str, *, color: str = "var(--jp-brand-color1,#1976d2)") -> str:
    """The same card as plain HTML with inline styles, which survive where style sheets are stripped."""
    frame = (
        f"border:1px solid var(--jp-border-color2,#ddd);border-left:4px solid {color};border-radius:6px;"
        "padding:10px 16px 12px;margin:4px 0;max-width:760px;box-sizing:border-box;font-size:14px;line-height:1.5;"
        "background:var(--jp-layout-color1,#fff);color:var(--jp-content-font-color1,#222)"
    )
    head = "font-size:11px;font-weight:600;letter-spacing:.08em;color:var(--jp-content-font-color2,#555);margin-bottom:2px"
    return f'<div style="{frame}"><div style="{head}">{kicker}</div>{body}</div>'
