"""The one figure style of the course: `new` makes a figure, `show` displays it with alt text.

Sizes are true: an inch of the figure is an inch (96 CSS pixels) on the page, so that 9 pt text is read as 9 pt. The
picture holds twice as many pixels, for sharp screens and print. Its background is opaque white in every theme.
"""

from __future__ import annotations

import base64
import html
import io
import sys
from typing import TYPE_CHECKING, Any

from utils.errors import UsageError
from utils.shown import Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Ten colours that can be told apart with any common colour vision (Petroff 2021), in the order of use.
COLORS = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")

#: Line styles in step with `COLORS`, so that no curve is known by its colour alone.
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 3)), (0, (5, 2, 1, 2, 1, 2)), (0, (2, 3)))

PIXELS_PER_INCH = 96
SHARPNESS = 2

_INK, _SOFT_INK, _GRID = "#222222", "#555555", "#e8e8e8"

_RC = {
    "axes.axisbelow": True,
    "axes.edgecolor": _SOFT_INK,
    "axes.facecolor": "white",
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "image.cmap": "cividis",
    "legend.fontsize": 9,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.handlelength": 2.8,
    "lines.linewidth": 2.0,
    "lines.markersize": 5,
    "savefig.facecolor": "white",
    "text.color": _INK,
    "xtick.color": _SOFT_INK,
    "xtick.labelcolor": _INK,
    "xtick.labelsize": 9,
    "ytick.color": _SOFT_INK,
    "ytick.labelcolor": _INK,
    "ytick.labelsize": 9,
}


def use_style() -> None:
    """Make the course's style matplotlib's default; `new` does it, plain pyplot code may want it.

    matplotlib reads its settings when a line or a text is made, not when the figure is: hence for the whole session.
    """
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update(_RC)
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=COLORS) + cycler(linestyle=STYLES)


def new(
    ncols: int = 1, nrows: int = 1, *, width: float | None = None, height: float | None = None, **subplots_kw: Any
) -> tuple[Figure, Any]:
    """Make a figure in the course's style.

    Parameters
    ----------
    ncols, nrows : int
        Panels beside each other and below each other.
    width, height : float, optional
        Size in inches. By default 6.4 wide (8.6 with several columns) and 3.4 high (2.8 a row with several rows).
    **subplots_kw
        Passed to `matplotlib.figure.Figure.subplots`: `sharex`, `sharey`, `squeeze`, `width_ratios`, …

    Returns
    -------
    fig : matplotlib.figure.Figure
        Unknown to pyplot: it needs no display, is drawn by `show` only, and leaves nothing open when code fails.
    ax : Axes or ndarray of Axes
        One Axes, or an array of shape (ncols,), (nrows,) or (nrows, ncols).

    Raises
    ------
    UsageError
        If a count is below 1 or a size is not positive.

    Examples
    --------
    >>> fig, (left, right) = new(ncols=2, sharey=True)
    >>> fig.get_size_inches().tolist()
    [8.6, 3.4]
    """
    if ncols < 1 or nrows < 1:
        raise UsageError(f"figures.new: ncols and nrows count panels, so both are at least 1; got ncols={ncols}, nrows={nrows}.")
    width = (6.4 if ncols == 1 else 8.6) if width is None else width
    height = (3.4 if nrows == 1 else 2.8 * nrows) if height is None else height
    if width <= 0 or height <= 0:
        raise UsageError(f"figures.new: width and height are inches, so both are positive; got width={width}, height={height}.")
    use_style()
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), layout="constrained")
    fig.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return fig, fig.subplots(nrows, ncols, **subplots_kw)


def label(ax: Axes, x: str, y: str, title: str | None = None) -> Axes:
    """Label both axes, units in brackets (`"time (ms)"`), and set the title if one is given.

    Returns
    -------
    Axes
        `ax` itself.

    Examples
    --------
    >>> fig, ax = new()
    >>> label(ax, "step", "loss (nats)").get_ylabel()
    'loss (nats)'
    """
    ax.set(xlabel=x, ylabel=y)
    if title is not None:
        ax.set_title(title)
    return ax


def show(fig: Figure, *, alt: str) -> None:
    """Display `fig` as a PNG with alt text, and close it.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
    alt : str
        What the figure shows, in a sentence: for those who cannot see it.

    Raises
    ------
    UsageError
        If `fig` is no figure or `alt` is empty.
    """
    from IPython.display import display

    display(picture(fig, alt=alt, where="figures.show"))


def picture(fig: Figure, *, alt: str, where: str = "figures.picture") -> Shown:
    """The figure as something to display: an HTML image with alt text, in a terminal the alt text alone. Closes `fig`.

    JupyterLab's and nbconvert's renderers for plain PNG output drop the alt text, hence HTML.
    """
    if not hasattr(fig, "savefig"):
        raise UsageError(f"{where}: expected a matplotlib figure, got {type(fig).__name__}. Make one: `fig, ax = figures.new()`.")
    if not isinstance(alt, str) or not alt.strip():
        raise UsageError(f"{where}: alt is empty. Say in a sentence what the figure shows, for those who cannot see it.")
    width, height = (round(side * PIXELS_PER_INCH) for side in fig.get_size_inches())
    source = base64.b64encode(png(fig)).decode("ascii")
    _close(fig)
    image = f'<img src="data:image/png;base64,{source}" alt="{html.escape(alt)}" width="{width}" height="{height}" style="{_IMG}">'
    return Shown(image, f"[figure] {alt}")


_IMG = "max-width:100%;height:auto;background:#fff;border-radius:4px"


def png(fig: Figure) -> bytes:
    """The figure as a PNG at twice its size on the page; equal figures give equal bytes."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=PIXELS_PER_INCH * SHARPNESS, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _close(fig: Figure) -> None:
    """Forget a figure that pyplot knows: the inline backend would show it a second time."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(fig)
