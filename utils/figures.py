"""The one figure style of the course: `new` makes a figure, `show` displays it with alt text."""

from __future__ import annotations

import base64
import html
import io
import sys
from typing import TYPE_CHECKING, Any

from utils.errors import CourseError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Ten colours that people with any common colour vision can tell apart (petroff10), in the order of use.
COLORS = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")

#: Line styles in step with `COLORS`, so that no curve is known by its colour alone.
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 3)), (0, (5, 2, 1, 2, 1, 2)), (0, (2, 3)))

PIXELS_PER_INCH = 96  # a CSS pixel is 1/96 inch, so 9 pt in the figure are 9 pt on the page
SHARPNESS = 2  # device pixels per CSS pixel

RC = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "axes.facecolor": "white",
    "axes.edgecolor": "#555555",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "image.cmap": "cividis",
}


def new(
    ncols: int = 1, nrows: int = 1, *, width: float | None = None, height: float | None = None, **subplots_kw: Any
) -> tuple[Figure, Any]:
    """Make a figure in the course's style."""
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    if ncols < 1 or nrows < 1:
        raise CourseError(f"figures.new: ncols and nrows count panels and must be at least 1, got {ncols} and {nrows}.")
    matplotlib.rcParams.update(RC)
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=COLORS) + cycler(linestyle=STYLES)
    width = width or (6.4 if ncols == 1 else 8.4)
    height = height or (3.4 if nrows == 1 else 2.8 * nrows)
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, fig.subplots(nrows, ncols, **subplots_kw)


def label(ax: Axes, x: str, y: str, title: str | None = None) -> Axes:
    """Label both axes (with units in brackets) and, if given, set the title; returns `ax`."""
    ax.set(xlabel=x, ylabel=y)
    if title:
        ax.set_title(title)
    return ax


def png(fig: Figure) -> bytes:
    """Render `fig` as PNG bytes: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=PIXELS_PER_INCH * SHARPNESS, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def bundle(fig: Figure, alt: str) -> dict[str, str]:
    """The figure as a display bundle whose HTML carries the alt text."""
    width = round(fig.get_figwidth() * PIXELS_PER_INCH)
    source = base64.b64encode(png(fig)).decode("ascii")
    close(fig)
    image = f'<img src="data:image/png;base64,{source}" alt="{html.escape(alt)}" width="{width}" style="max-width:100%;height:auto">'
    return {"text/html": image, "text/plain": f"Figure: {alt}"}


def close(fig: Figure) -> None:
    """Free a figure, also where pyplot knows it (a second display by the inline backend would follow)."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(fig)


def show(fig: Figure, *, alt: str) -> None:
    """Display `fig` as a PNG with alt text, and close it."""
    from IPython.display import display

    check(fig, alt, "figures.show")
    display(bundle(fig, alt), raw=True)


def check(fig: Any, alt: str, where: str) -> None:
    """Refuse what is no figure and what has no alt text."""
    if not hasattr(fig, "savefig"):
        raise CourseError(f"{where}: expected a matplotlib figure, got {type(fig).__name__}. Make one with `fig, ax = figures.new()`.")
    if not isinstance(alt, str) or not alt.strip():
        raise CourseError(f"{where}: alt is empty. Say in a sentence what the figure shows, for those who cannot see it.")
