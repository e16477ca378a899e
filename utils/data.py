"""Real data that the installed packages carry; nothing is downloaded."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from utils.errors import UsageError


class Split(NamedTuple):
    """A data set in two parts. Unpacks as `x_train, y_train, x_test, y_test`."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def digits(*, standardize: bool = False, test: float = 0.25, seed: int = 0, dtype: DTypeLike = np.float32) -> Split:
    """1797 handwritten digits of 8 by 8 pixels.

    Parameters
    ----------
    standardize : bool
        Shift and scale each pixel to mean 0 and standard deviation 1 *of the training part*; pixels that never change become 0.
    test : float
        Share held out, in [0, 1).
    seed : int
        Of the shuffle before the split.
    dtype : dtype
        Of `x`.

    Returns
    -------
    Split
        `x` of shape (N, 64), ink in [0, 1] unless standardized; `y` of shape (N,), int64, the digit 0 to 9.

    Raises
    ------
    UsageError
        If `test` is outside [0, 1).

    Notes
    -----
    The first call imports scikit-learn, which takes about a second.

    Examples
    --------
    >>> x_train, y_train, x_test, y_test = digits()
    >>> x_train.shape, y_test.shape
    ((1348, 64), (449,))
    """
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return _split(x / 16, y, standardize=standardize, test=test, seed=seed, dtype=dtype)


def wine(*, standardize: bool = False, test: float = 0.25, seed: int = 0, dtype: DTypeLike = np.float32) -> Split:
    """178 Italian wines: thirteen chemical measurements in very different units, from three grape varieties.

    Parameters are those of `digits`.

    Returns
    -------
    Split
        `x` of shape (N, 13), in columns between 0.1 and 1700 unless standardized; `y` of shape (N,), int64, 0 to 2.

    Raises
    ------
    UsageError
        If `test` is outside [0, 1).

    Examples
    --------
    >>> wine(test=0.0).x_train.shape
    (178, 13)
    """
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    return _split(x, y, standardize=standardize, test=test, seed=seed, dtype=dtype)


def _split(x: np.ndarray, y: np.ndarray, *, standardize: bool, test: float, seed: int, dtype: DTypeLike) -> Split:
    if not 0 <= test < 1:
        raise UsageError(f"utils.data: test is the share held out, at least 0 and below 1; got {test}. For a quarter: test=0.25.")
    order = np.random.default_rng(seed).permutation(len(x))
    held_out, kept = np.split(order, [round(test * len(x))])
    if standardize:
        mean, std = x[kept].mean(axis=0), x[kept].std(axis=0)
        x = (x - mean) / np.where(std > 0, std, 1.0)
    x, y = x.astype(dtype), y.astype(np.int64)
    return Split(x[kept], y[kept], x[held_out], y[held_out])


def stdlib_text(n_chars: int = 100_000) -> str:
    """The beginning of the Python standard library's own source: megabytes of real text on every machine.

    Parameters
    ----------
    n_chars : int
        How many characters, up to about four million.

    Returns
    -------
    str
        Printable ASCII, tabs and newlines; the top-level modules in the order of their names. The same for one Python version.

    Raises
    ------
    UsageError
        If `n_chars` is negative, or more than there is.

    Examples
    --------
    >>> len(stdlib_text(1000))
    1000
    """
    if n_chars < 0:
        raise UsageError(f"data.stdlib_text: n_chars counts characters, so it is not negative; got {n_chars}.")
    parts: list[str] = []
    have = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[!_]*.py")):
        if have >= n_chars:
            break
        parts.append(re.sub(r"[^\n\t -~]", "", path.read_text(encoding="utf-8", errors="ignore")))
        have += len(parts[-1])
    if have < n_chars:
        raise UsageError(f"data.stdlib_text: this Python has {have} characters of source, {n_chars} were asked for. Ask for fewer.")
    return "".join(parts)[:n_chars]
