"""The words of an answers file: `exercise`, `trap`, `right`, and ways to say which cases to try.

`chapters/README.md` is the guide; this is all there is to import.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autograder.chain import Chain
from autograder.errors import AuthoringError
from autograder.exercise import Exercise, Group, Implementation
from autograder.networks import rebuild
from autograder.student.network import describe
from autograder.student.observe import Call
from autograder.student.probes import CallFunction, Oracle, RunCheck

__all__ = [
    "Chain",
    "alternative",
    "arrays",
    "call",
    "describe",
    "exercise",
    "group",
    "normal",
    "rebuild",
    "right",
    "shaped",
    "st",
    "tensors",
    "trap",
]


@dataclass(frozen=True)
class _Marked:
    kind: str
    text: str
    value: Any


def trap(message: str) -> Callable[[Any], _Marked]:
    """Mark a plausible wrong implementation; `message` is what a good teacher would say to someone who wrote it."""
    return lambda value: _Marked("trap", message, value)


def right(what: str) -> Callable[[Any], _Marked]:
    """Mark another right implementation; `what` says how it differs."""
    return lambda value: _Marked("right", what, value)


def alternative(what: str) -> Callable[[Any], _Marked]:
    """Mark an implementation with different results that is accepted too; `what` names the convention."""
    return lambda value: _Marked("alternative", what, value)


def exercise(
    id: str,
    *,
    names: str,
    covers: Sequence[str],
    forbid: Iterable[str] | Mapping[str, str] = (),
    keeps_dtype: bool = False,
    warnings: str = "error",
    inplace: bool = False,
    rtol: float | None = None,
    atol: float | None = None,
    seconds: float = 10.0,
) -> Callable[[type], Exercise]:
    """Make an `Exercise` of a class that holds its reference, cases, probe, traps and right variants.

    Raises
    ------
    AuthoringError : where something is missing or misspelt
    """

    def build(body: type) -> Exercise:
        given = {k: v for k, v in vars(body).items() if not k.startswith("__")}
        wanted = tuple(names.split())
        marked = {kind: _marked(given, kind, wanted, id) for kind in ("trap", "right", "alternative")}
        reference = Implementation("reference", _namespace(given["reference"], wanted, id)) if "reference" in given else None
        is_test = "catches" in given
        return Exercise(
            id=id,
            names=wanted,
            covers=tuple(covers),
            reference=reference,
            groups=_test_groups(given, id) if is_test else _groups(given, id),
            traps=marked["trap"],
            rights=marked["right"],
            alternatives=marked["alternative"],
            probe=_probe(given, wanted, id, is_test),
            forbid=_ruled_out(forbid),
            keeps_dtype=keeps_dtype,
            warnings="ignore" if is_test else warnings,
            inplace=inplace,
            rtol=rtol,
            atol=atol,
            seconds=seconds,
            is_test=is_test,
        )

    return build


_SHORT = {"np": "numpy", "F": "torch.nn.functional", "nn": "torch.nn", "plt": "matplotlib.pyplot"}


#: Who may not calculate with one of these may not with another.
_CALCULATORS = ("scipy", "sklearn", "sympy", "mpmath", "ctypes", "_ctypes", "cffi", "_cffi_backend", "sqlite3", "_sqlite3")


def _ruled_out(forbid: Iterable[str] | Mapping[str, str]) -> dict[str, str]:
    """Dotted name → why. No solution may hand in the code of the course's own figures."""
    found = dict(forbid) if isinstance(forbid, Mapping) else {_full(name): "" for name in forbid}
    if found.keys() & {"torch", "scipy"}:
        found = dict.fromkeys(_CALCULATORS, "") | found
    return found | {"utils.demos": "it is the code of the course's own figures"}


def _full(name: str) -> str:
    first, dot, rest = name.partition(".")
    return _SHORT.get(first, first) + dot + rest


def _marked(given: Mapping[str, Any], kind: str, names: tuple[str, ...], id: str) -> tuple[Implementation, ...]:
    found = ((name, m) for name, m in given.items() if isinstance(m, _Marked) and m.kind == kind)
    return tuple(Implementation(name, _namespace(m.value, names, id), m.text) for name, m in found)


def _namespace(value: Any, names: tuple[str, ...], id: str) -> SimpleNamespace:
    if len(names) == 1:
        return SimpleNamespace(**{names[0]: value})
    missing = [n for n in names if n not in vars(value)]
    if missing:
        raise AuthoringError(f"{id}: the implementation {value.__name__} lacks {', '.join(missing)}. Define each of: {' '.join(names)}.")
    return SimpleNamespace(**{n: getattr(value, n) for n in names})


def _probe(given: Mapping[str, Any], names: tuple[str, ...], id: str, is_test: bool) -> Callable:
    if is_test:
        return RunCheck(names[0])
    if "probe" in given:
        return given["probe"]
    if len(names) > 1 and any(g.probe is None for g in _groups(given, id)):
        raise AuthoringError(f"{id}: with several names ({' '.join(names)}) the exercise needs a probe(submission, ...).")
    return CallFunction(names[0])


def _groups(given: Mapping[str, Any], id: str) -> tuple[Group, ...]:
    if not given.get("cases"):
        raise AuthoringError(f"{id}: `cases` is missing. Give a dict of groups, e.g. cases = {{'values': call(...)}}.")
    groups = tuple(_as_group(name, source) for name, source in given["cases"].items())
    if "reference" not in given and any(g.accept is None for g in groups):
        raise AuthoringError(f"{id}: `reference` is missing, and a group has no `accept` in its place.")
    return groups


def _as_group(name: str, source: Any) -> Group:
    if isinstance(source, Group):
        return replace(source, name=name)
    return Group(name, _sources(source))


def _sources(source: Any) -> tuple[Any, ...]:
    listed = source if isinstance(source, (list, tuple)) else [source]
    return tuple(s if isinstance(s, (Call, st.SearchStrategy)) else Call((s,)) for s in listed)


def _test_groups(given: Mapping[str, Any], id: str) -> tuple[Group, ...]:
    accepts = [*given.get("accepts", {}).values()]
    if not accepts:
        raise AuthoringError(f"{id}: `accepts` is missing: at least one right implementation that a check must let pass.")
    name = next(iter(inspect.signature(given["reference"]).parameters))  # as the author's own check calls what it is given
    shown = name, inspect.signature(accepts[0])
    right_ones = tuple(Call((Oracle(f, *shown),)) for f in accepts)
    caught = tuple(Group(name, (Call((Oracle(f, *shown),)),), accept=_catches) for name, f in given["catches"].items())
    return (Group("right ones pass", right_ones, accept=_passes, weight=0.0), *caught)


def _catches(accepted: bool, implementation: Oracle) -> bool | str:
    return not accepted or "Your check accepts this wrong implementation."


def _passes(accepted: bool, implementation: Oracle) -> bool | str:
    return accepted or "Your check rejects a right implementation."


def group(
    source: Any,
    *more: Any,
    probe: Callable | None = None,
    accept: Callable | None = None,
    weight: float = 1.0,
    n: int = 20,
    rtol: float | None = None,
    atol: float | None = None,
) -> Group:
    """A group of cases with a probe, a judgement, a weight or a tolerance of its own."""
    sources = (*_sources(source), *(s for m in more for s in _sources(m)))
    return Group("", sources, probe=probe, accept=accept, weight=weight, n=n, rtol=rtol, atol=atol)


def call(*args: Any, **kwargs: Any) -> Any:
    """One way to call the learner's function: a `Call`, or a strategy of calls if an argument is a strategy.

    >>> call(2, base=3)
    Call(args=(2,), kwargs={'base': 3})
    """
    if not any(isinstance(a, st.SearchStrategy) for a in (*args, *kwargs.values())):
        return Call(args, kwargs)
    drawn = st.tuples(*map(_strategy, args)), st.fixed_dictionaries({k: _strategy(v) for k, v in kwargs.items()})
    return st.builds(Call, *drawn)


def _strategy(value: Any) -> st.SearchStrategy:
    return value if isinstance(value, st.SearchStrategy) else st.just(value)


def arrays(shape: Any, low: float = -6.0, high: float = 6.0, dtype: Any = np.float64, unique: bool = False) -> st.SearchStrategy:
    """NumPy arrays with entries in [low, high], rounded to 3 decimals.

    Parameters
    ----------
    shape : tuple of int, list of tuples to choose from, or a strategy of tuples
    unique : entries all differ
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        elements = st.floats(low, high, allow_subnormal=False).map(lambda v: min(max(round(v, 3), low), high)).map(dtype.type)
    elif dtype.kind == "b":
        elements = st.booleans()
    else:
        elements = st.integers(int(low), int(high))
    return _shapes(shape).flatmap(lambda s: hnp.arrays(dtype, s, elements=elements, fill=st.nothing(), unique=unique))


def _shapes(shape: Any) -> st.SearchStrategy:
    if isinstance(shape, st.SearchStrategy):
        return shape
    return st.sampled_from(shape) if isinstance(shape, list) else st.just(tuple(shape))


def tensors(shape: Any, low: float = -6.0, high: float = 6.0, dtype: Any = None) -> st.SearchStrategy:
    """As `arrays`, as torch tensors; float64 unless `dtype` says otherwise."""
    import torch

    drawn = arrays(shape, low, high)
    return drawn.map(lambda a: torch.tensor(a, dtype=dtype or torch.float64))


def shaped(
    *patterns: str, low: float = -3.0, high: float = 3.0, dtype: Any = np.float64, torch: bool = False, **more: Any
) -> st.SearchStrategy:
    """A call of arrays that share dimensions.

    Parameters
    ----------
    patterns : the shape of each array as letters or numbers, e.g. "N C"
    more : for each letter its range (first, last); every other keyword is passed on as a keyword argument of the call

    Notes
    -----
    `shaped("N C", "C", N=(1, 5), C=(2, 4))` draws x (N, C) and alpha (C,) with the same C.
    """
    letters = {t for p in patterns for t in p.split() if re.fullmatch(r"[A-Za-z_]\w*", t)}
    missing = letters - more.keys()
    if missing:
        raise AuthoringError(f"shaped({', '.join(patterns)}): give a range for {', '.join(sorted(missing))}.")
    ranges = {k: st.integers(*more.pop(k)) for k in sorted(letters)}
    make = tensors if torch else arrays

    def of(sizes: Mapping[str, int]) -> st.SearchStrategy:
        shapes = [tuple(int(sizes.get(t, t)) for t in p.split()) for p in patterns]
        return st.builds(
            Call, st.tuples(*(make(s, low, high, dtype if not torch or dtype is not np.float64 else None) for s in shapes)), keywords
        )

    keywords = st.fixed_dictionaries({k: _strategy(v) for k, v in more.items()})
    return st.fixed_dictionaries(ranges).flatmap(of)


def normal(shape: tuple[int, ...], scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """A fixed array of normal draws, for cases that are written out. float64, standard deviation `scale`."""
    return np.random.default_rng(seed).normal(scale=scale, size=shape)
