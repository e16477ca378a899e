"""Draw the cases of an exercise, the same on every machine, and shrink a failing one."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.internal.conjecture import providers

from autograder.exercise import Case, Exercise
from autograder.student.observe import Call, plain

#: How long shrinking may look for a smaller failing input.
SHRINK_SECONDS = 2.0

_QUIET = {
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "verbosity": Verbosity.quiet,
    "report_multiple_bugs": False,
    "print_blob": False,
}


class _Fails(Exception):
    """The case at hand fails: what Hypothesis shrinks."""


class _OutOfTime(BaseException):
    """Ends a search from inside; not an Exception, so that Hypothesis lets it pass."""


def draw_cases(exercise: Exercise) -> list[Case]:
    """All cases of an exercise, group after group. The same list on every call and machine."""
    return [
        Case(i, call, strategy) for i, group in enumerate(exercise.groups) for s in group.sources for call, strategy in _draw(s, group.n)
    ]


def _draw(source: Any, n: int) -> list[tuple[Call, Any]]:
    if isinstance(source, Call):
        return [(source, None)]
    strategy = source.map(_as_call)
    drawn: list[Call] = []

    @settings(max_examples=n, phases=[Phase.generate], **_QUIET)
    @seed(0)
    @given(strategy)
    def collect(call: Call) -> None:
        drawn.append(call)

    with _repeatable():
        collect()
    return [(call, strategy) for call in drawn]


def _as_call(value: Any) -> Call:
    return value if isinstance(value, Call) else Call((value,))


@contextmanager
def _repeatable() -> Iterator[None]:
    # Hypothesis mixes in constants that it finds in the source of whatever modules are imported: cases would depend on who asks.
    empty = providers.Constants(integers=set(), floats=set(), bytes=set(), strings=set())
    with mock.patch.object(providers, "_get_local_constants", return_value=empty):
        yield


def smallest(failing: Sequence[Case], fails: Callable[[Call], bool]) -> Call:
    """The smallest call that `fails`: one of the failing cases, or a smaller one that a strategy of theirs can draw in time."""
    found = [case.call for case in failing]
    strategy = next((case.strategy for case in failing if case.strategy is not None), None)
    if strategy is not None:
        found += _shrink(strategy, fails)
    return min(found, key=_size)


def _shrink(strategy: Any, fails: Callable[[Call], bool]) -> list[Call]:
    """Failing calls that Hypothesis meets on its way to a small one."""
    found: list[Call] = []
    end = time.monotonic() + SHRINK_SECONDS

    @settings(max_examples=100, phases=[Phase.generate, Phase.shrink], **_QUIET)
    @seed(0)
    @given(strategy)
    def search(call: Call) -> None:
        if time.monotonic() > end:
            raise _OutOfTime
        if fails(call):
            found.append(call)
            raise _Fails

    with _repeatable():
        try:
            search()
        except (_Fails, _OutOfTime):
            pass
        except Exception as error:  # Hypothesis' own complaints, such as Flaky for a submission that draws random numbers
            if not type(error).__module__.startswith("hypothesis"):
                raise
    return found


def _size(call: Call) -> tuple[int, int, float]:
    leaves = [np.asarray(leaf) for leaf in _leaves((*call.args, *call.kwargs.values()))]
    numbers = [leaf for leaf in leaves if leaf.dtype.kind in "biuf"]
    magnitude = sum(float(np.abs(np.nan_to_num(n.astype(float))).sum()) for n in numbers)
    return sum(leaf.size for leaf in leaves), len(repr(call)), round(magnitude, 6)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from _leaves(v)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    else:
        try:
            yield plain(value)
        except TypeError:
            yield 0
