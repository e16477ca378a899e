"""Real data that the installed packages carry; nothing is downloaded."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.errors import CourseError


class Split(NamedTuple):
    """A data set in two parts; unpacks as `x_train, y_train, x_test, y_test`."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def digits(*, standardize: bool = False, test: float = 0.25, seed: int = 0, dtype: type = np.float32) -> Split:
    """1797 handwritten digits of 8 by 8 pixels: x (N, 64) with values in [0, 1], y (N,) with the digit."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return _split(x / 16, y, standardize=standardize, test=test, seed=seed, dtype=dtype)


def wine(*, standardize: bool = False, test: float = 0.25, seed: int = 0, dtype: type = np.float32) -> Split:
    """178 wines: x (N, 13) chemical measurements in very different units, y (N,) one of 3 cultivars."""
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    return _split(x, y, standardize=standardize, test=test, seed=seed, dtype=dtype)


def _split(x: np.ndarray, y: np.ndarray, *, standardize: bool, test: float, seed: int, dtype: type) -> Split:
    if not 0 <= test < 1:
        raise CourseError(f"utils.data: test is the share held out and must be in [0, 1), got {test}.")
    order = np.random.default_rng(seed).permutation(len(x))
    held_out, kept = np.split(order, [round(test * len(x))])
    if standardize:
        mean, std = x[kept].mean(axis=0), x[kept].std(axis=0)
        x = (x - mean) / np.where(std > 0, std, 1.0)
    x, y = x.astype(dtype), y.astype(np.int64)
    return Split(x[kept], y[kept], x[held_out], y[held_out])


def stdlib_text(n_chars: int = 100_000) -> str:
    """The first `n_chars` characters of the Python standard library's own source, ASCII only."""
    if n_chars < 0:
        raise CourseError(f"data.stdlib_text: n_chars must not be negative, got {n_chars}.")
    parts, length = [], 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        if length >= n_chars:
            break
        parts.append(path.read_bytes().decode("ascii", errors="ignore"))
        length += len(parts[-1])
    return "".join(parts)[:n_chars]
