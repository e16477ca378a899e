"""Keep what a cell prints and displays, within limits."""

import base64
import builtins
import io
import sys
from typing import Any

from autograder.student.limits import Limits

_MIMES = {
    "text/plain": "__repr__", "text/html": "_repr_html_", "text/latex": "_repr_latex_", "text/markdown": "_repr_markdown_",
    "image/png": "_repr_png_", "image/svg+xml": "_repr_svg_",
}  # fmt: skip


class Bounded(io.TextIOBase):
    """A text file that keeps the first `limit` bytes of what is written and counts the rest."""

    encoding = "utf-8"

    def __init__(self, limit: int) -> None:
        self.limit, self.size, self.parts = limit, 0, []

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Keep `text` as far as there is room."""
        room = self.limit - self.size
        if room > 0:
            kept = str(text)[:room]
            self.parts.append(kept)
        self.size += len(text)
        return len(text)

    @property
    def text(self) -> str:
        """What was kept, with a note if something was not."""
        lost = self.size - self.limit
        return "".join(self.parts) + (f"\n… {lost} more characters were not kept" if lost > 0 else "")


class Capture:
    """A context in which print, display and figures are kept instead of shown."""

    current: "Capture | None" = None

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.room = limits.display
        self.notes: list[str] = []
        self.bundles: list[dict[str, str]] = []

    def __enter__(self) -> "Capture":
        self.out, self.err = Bounded(self.limits.output), Bounded(self.limits.output)
        self.before = (sys.stdout, sys.stderr, sys.displayhook, builtins.input, Capture.current)
        sys.stdout, sys.stderr, sys.displayhook, builtins.input = self.out, self.err, self.show, _no_input
        Capture.current = self
        return self

    def __exit__(self, *exc: object) -> None:
        sys.stdout, sys.stderr, sys.displayhook, builtins.input, Capture.current = self.before

    @property
    def stdout(self) -> str:
        """What was printed."""
        return self.out.text

    @property
    def stderr(self) -> str:
        """What was printed to stderr."""
        return self.err.text

    @property
    def outputs(self) -> tuple[dict[str, str], ...]:
        """What was displayed."""
        return tuple(self.bundles)

    def show(self, value: Any) -> None:
        """Keep one displayed value."""
        if value is not None:
            self.keep(bundle(value))

    def keep(self, mimes: dict[str, str]) -> None:
        """Keep a mime bundle if there is room for it."""
        size = sum(map(len, mimes.values()))
        if size > self.room or len(self.bundles) >= 50:
            self.notes.append("Some of the output was too large to keep.")
            return
        self.room -= size
        self.bundles.append(mimes)

    def figures(self) -> None:
        """Keep the open figures, as a notebook shows them after a cell, and close them."""
        drawn = sys.modules.get("matplotlib._pylab_helpers")  # where pyplot keeps them
        try:
            if drawn is None or not drawn.Gcf.figs:
                return
            pyplot = sys.modules["matplotlib.pyplot"]
            for number in pyplot.get_fignums()[:10]:
                self.show(pyplot.figure(number))
            pyplot.close("all")
        except Exception as error:  # drawing runs a learner's objects
            self.notes.append(f"A figure could not be drawn: {type(error).__name__}.")


def bundle(value: Any) -> dict[str, str]:
    """A value's representations by mime type; images as base64."""
    found: dict[str, str] = {}
    for mime, method in _MIMES.items():
        try:
            shown = repr(value) if mime == "text/plain" else getattr(value, method)() if hasattr(type(value), method) else None
        except Exception as error:  # a learner's __repr__ may fail
            shown = f"<{type(value).__name__}, whose representation raised {type(error).__name__}>" if mime == "text/plain" else None
        if isinstance(shown, tuple):
            shown = shown[0]
        if isinstance(shown, bytes):
            shown = base64.b64encode(shown).decode()
        if isinstance(shown, str):
            found[mime] = shown
    if hasattr(value, "savefig") and hasattr(value, "canvas"):
        found["image/png"] = _png(value)
    return found


def _png(figure: Any) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=72, bbox_inches="tight")
    return base64.b64encode(file.getvalue()).decode()


def display(*values: Any, **options: Any) -> None:
    """What `IPython.display.display` does while a cell runs."""
    for value in values:
        if Capture.current:
            Capture.current.show(value)


def _no_input(prompt: object = "") -> str:
    raise RuntimeError("input() waits for somebody to type, and nobody does while grading: use a value instead")
