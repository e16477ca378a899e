"""Compare what a submission returned with what is expected, entry by entry."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from autograder.student.plaintext import cut

#: Relative and absolute tolerance by the lowest floating precision among the inputs.
TOLERANCES = {2: (1e-2, 1e-2), 4: (1e-4, 1e-5), 8: (1e-7, 1e-9)}

#: What is shown of a value: characters in all, characters of one text, items of one container, and how deep.
_MOST_SHOWN, _LONGEST, _MOST_ITEMS, _DEEPEST = 2000, 200, 100, 6


@dataclass(frozen=True)
class Difference:
    """Where two results part.

    Attributes
    ----------
    path : the entry, as one would index it: "", "[1]", "['running_mean']"
    kind : "structure", "type", "shape", "dtype" or "value"
    text : one sentence
    """

    path: str
    kind: str
    text: str


def differences(expected: Any, got: Any, rtol: float, atol: float, dtype: np.dtype | None = None) -> Iterator[Difference]:
    """Every entry of `got` that is not what `expected` asks for.

    Parameters
    ----------
    expected, got : plain data
    dtype : the dtype that floating arrays must have, if any
    """
    yield from _walk("", expected, got, rtol, atol, dtype)


def _walk(path: str, expected: Any, got: Any, rtol: float, atol: float, dtype: np.dtype | None) -> Iterator[Difference]:
    if isinstance(expected, dict):
        yield from _walk_dict(path, expected, got, rtol, atol, dtype)
    elif isinstance(expected, (list, tuple)):
        yield from _walk_sequence(path, expected, got, rtol, atol, dtype)
    else:
        found = _leaf(expected, got, rtol, atol, dtype)
        if found:
            yield Difference(path, *found)


def _walk_dict(path: str, expected: dict, got: Any, *rules: Any) -> Iterator[Difference]:
    if not isinstance(got, dict):
        yield Difference(path, "structure", f"is {kind_of(got)}, not a dict with the keys {', '.join(map(str, expected))}")
    elif got.keys() != expected.keys():
        yield Difference(path, "structure", f"has the keys {show(list(got))}, not {show(list(expected))}")
    else:
        for key, value in expected.items():
            yield from _walk(f"{path}[{key!r}]", value, got[key], *rules)


def _walk_sequence(path: str, expected: Any, got: Any, *rules: Any) -> Iterator[Difference]:
    if not isinstance(got, (list, tuple)):
        yield Difference(path, "structure", f"is {kind_of(got)}, not a {type(expected).__name__} of {len(expected)}")
    elif len(got) != len(expected):
        yield Difference(path, "structure", f"has {len(got)} entries, not {len(expected)}")
    else:
        for i, value in enumerate(expected):
            yield from _walk(f"{path}[{i}]", value, got[i], *rules)


def _leaf(expected: Any, got: Any, rtol: float, atol: float, dtype: np.dtype | None) -> tuple[str, str] | None:
    if expected is None or isinstance(expected, (str, bool)):
        return _exact(expected, got)
    if type(expected) is int and type(got) is int:  # of any size
        return None if got == expected else ("value", f"is {got}, not {expected}")
    want = np.asarray(expected)
    if not isinstance(got, (np.ndarray, int, float, complex)):
        return "type", f"is {kind_of(got)}, not {kind_of(expected)}"
    have = np.asarray(got)
    if have.shape != want.shape:
        return "shape", f"has shape {have.shape}, not {want.shape}"
    if want.dtype.kind in "biu" and have.dtype.kind not in ("b" if want.dtype.kind == "b" else "iu"):
        return "type", f"has dtype {have.dtype}, not {_word(want)}"
    if want.dtype.kind == "O":  # an integer beyond 64 bits, and an array or a float in its place
        return "value" if have.dtype.kind in "iu" else "type", f"is {show(have)}, not the integer {expected}"
    if have.dtype.kind not in "biufc" or (have.dtype.kind == "c" and want.dtype.kind != "c"):
        return "type", f"has dtype {have.dtype}, not {_word(want)}"
    if want.dtype.kind == "f" and dtype is not None and isinstance(got, np.ndarray) and have.dtype != dtype:
        return "dtype", f"has dtype {have.dtype}, not {dtype} like the input"
    return _value(want, have, rtol, atol)


def _word(want: np.ndarray) -> str:
    return {"b": "bool", "i": "an integer type", "u": "an integer type"}.get(want.dtype.kind, "a floating type")


def _exact(expected: Any, got: Any) -> tuple[str, str] | None:
    if isinstance(expected, bool) and isinstance(got, np.ndarray) and got.dtype == bool and got.shape == ():
        got = bool(got)
    if type(got) is not type(expected):
        return "type", f"is {kind_of(got)}, not {show(expected)}"
    return None if got == expected else ("value", f"is {show(got)}, not {show(expected)}")


def _value(want: np.ndarray, have: np.ndarray, rtol: float, atol: float) -> tuple[str, str] | None:
    right = have == want if want.dtype.kind in "biu" else close(have, want, rtol, atol)
    if right.all():
        return None
    wrong = ~right
    if want.ndim == 0:
        return "value", "is {}, not {}".format(*_told_apart(have, want))
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    one, other = _told_apart(have[at], want[at])
    return "value", f"differs in {int(wrong.sum())} of {want.size} entries, first at {list(at)}: {one} instead of {other}"


def close(have: np.ndarray, want: np.ndarray, rtol: float, atol: float) -> np.ndarray:
    """Which entries agree, as `np.isclose(have, want, rtol, atol, equal_nan=True)` says it, several times as fast for small arrays."""
    with np.errstate(all="ignore"):
        same = have == want
        if same.all():
            return same
        want = want if want.dtype.kind in "fc" else want.astype(float)
        near = (np.abs(have - want) <= atol + rtol * np.abs(want)) & np.isfinite(want)
        return same | near | (np.isnan(have) & np.isnan(want))


def _told_apart(have: Any, want: Any) -> tuple[str, str]:
    """Two numbers as short text, in as many digits as it takes to see that they differ."""
    short = show(have), show(want)
    return short if short[0] != short[1] else (repr(np.asarray(have).item()), repr(np.asarray(want).item()))


def kind_of(value: Any) -> str:
    """A value's kind in words: "an array of shape (3,)", "a float", "None"."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}" if value.ndim else "a number"
    word = type(value).__name__
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def show(value: Any) -> str:
    """A value as short text, in the digits that a person reads; what is long is cut."""
    with np.printoptions(precision=6, suppress=False, threshold=24, edgeitems=3, linewidth=100):
        return cut(_show(value, 0), _MOST_SHOWN)


def _show(value: Any, depth: int) -> str:
    if isinstance(value, (dict, list, tuple)) and depth > _DEEPEST:
        return "…"
    if isinstance(value, dict):
        return "{" + _row((f"{_show(k, depth + 1)}: {_show(v, depth + 1)}" for k, v in value.items()), len(value)) + "}"
    if isinstance(value, (list, tuple)):
        inside = _row((_show(v, depth + 1) for v in value), len(value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if isinstance(value, float):
        return repr(float(f"{value:.7g}"))
    if isinstance(value, str):
        value = cut(value, _LONGEST)
    if isinstance(value, bytes) and len(value) > _LONGEST:
        value = value[:_LONGEST] + b"..."
    if isinstance(value, np.ndarray) and value.dtype.kind in "US" and value.dtype.itemsize > 4 * _LONGEST:
        value = value.astype(f"U{_LONGEST}")
    return repr(value)


def _row(parts: Iterator[str], count: int) -> str:
    return ", ".join([*islice(parts, _MOST_ITEMS), *(["…"] if count > _MOST_ITEMS else [])])
