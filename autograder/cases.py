"""Draw the cases of an exercise, the same on every machine, and find a small one that fails."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.control import BuildContext, current_build_context
from hypothesis.internal.conjecture import providers
from hypothesis.internal.conjecture.data import ConjectureData, StopTest

from autograder.exercise import Case, Exercise
from autograder.student.observe import Call, plain

#: How long shrinking may look for a smaller failing input.
SHRINK_SECONDS = 2.0
#: A ladder starts from so many of the smallest cases that a strategy drew, and its rungs divide their numbers by these.
LADDER_CASES, LADDER_STEPS = 2, (64, 16, 8, 4, 2, 1)

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


#: Per source of an exercise, in order: what its strategy drew, and by which choices. Nothing for a plain call.
Drawn = list[list[tuple[Call, tuple]]]


def draw(exercise: Exercise) -> Drawn:
    """What the strategies of an exercise draw. The same on every call and machine."""
    sources = [(source, group.n) for group in exercise.groups for source in group.sources]
    once = {(id(source), n): source for source, n in sources}  # groups may share a source
    found = {key: _draw(source, key[1]) for key, source in once.items()}
    return [found[id(source), n] for source, n in sources]


def assemble(exercise: Exercise, drawn: Drawn) -> list[Case]:
    """All cases of an exercise, group after group."""
    sources = [(i, source) for i, group in enumerate(exercise.groups) for source in group.sources]
    strategies = {id(source): source.map(_as_call) for _, source in sources if not isinstance(source, Call)}
    cases = []
    for (i, source), found in zip(sources, drawn):
        plain = [Case(i, source)] if isinstance(source, Call) else []
        cases += plain + [Case(i, call, strategies[id(source)], choices) for call, choices in found]
    return cases


def _draw(source: Any, n: int) -> list[tuple[Call, tuple]]:
    drawn: list[tuple[Call, tuple]] = []
    if isinstance(source, Call):
        return drawn

    @settings(max_examples=n, phases=[Phase.generate], **_QUIET)
    @seed(0)
    @given(source.map(_as_call))
    def collect(call: Call) -> None:
        drawn.append((call, current_build_context().data.choices))

    with _repeatable():
        collect()
    return drawn


def _as_call(value: Any) -> Call:
    return value if isinstance(value, Call) else Call((value,))


@contextmanager
def _repeatable() -> Iterator[None]:
    # Hypothesis mixes in constants that it finds in the source of whatever modules are imported: cases would depend on who asks.
    empty = providers.Constants(integers=set(), floats=set(), bytes=set(), strings=set())
    with mock.patch.object(providers, "_get_local_constants", return_value=empty):
        yield


def ladder(cases: Sequence[Case]) -> list[Call]:
    """Calls that a person can read, from small numbers to large: the smallest of `cases`, drawn by one strategy, with rounder numbers.

    They are drawn by the same strategy, so they are as valid as the cases.
    """
    small = sorted(cases, key=lambda case: size(case.call))[:LADDER_CASES]
    changes = [lambda v, k=k: float(round(v / k)) for k in LADDER_STEPS] + [lambda v: round(v, 1)]
    wanted = {repr(choices): choices for change in changes for choices in (_changed(case, change) for case in small)}
    with _repeatable():
        rungs = [_redraw(cases[0].strategy, choices) for choices in wanted.values()]
    return list({repr(call): call for call in rungs if call is not None}.values())


def _changed(case: Case, change: Callable[[float], float]) -> list[Any]:
    """The choices by which `case` was drawn, each floating-point number changed."""
    return [change(c) if isinstance(c, float) else c for c in case.choices]


def _redraw(strategy: Any, choices: Sequence[Any]) -> Call | None:
    """What a strategy draws by such choices; None if they do not fit, or would not do."""
    data = ConjectureData.for_choices(choices)
    try:
        with BuildContext(data, wrapped_test=_redraw):
            return data.draw(strategy)
    except StopTest:
        return None


def shrink(strategy: Any, fails: Callable[[Call], bool]) -> None:
    """Let Hypothesis ask `fails` about calls on its way to a small one that does. Thorough, and too slow for many submissions."""
    end = time.monotonic() + SHRINK_SECONDS

    @settings(max_examples=100, phases=[Phase.generate, Phase.shrink], **_QUIET)
    @seed(0)
    @given(strategy)
    def search(call: Call) -> None:
        if time.monotonic() > end:
            raise _OutOfTime
        if fails(call):
            raise _Fails

    with _repeatable():
        try:
            search()
        except (_Fails, _OutOfTime):
            pass
        except Exception as error:  # Hypothesis' own complaints, such as Flaky for a submission that draws random numbers
            if not type(error).__module__.startswith("hypothesis"):
                raise


def size(call: Call) -> tuple[int, int, float]:
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
