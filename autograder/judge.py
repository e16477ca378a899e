"""Reach a verdict: forbidden shortcut? → crash or warning → smallest failing case → which known mistake gives the same wrong results?"""

import ast
import inspect
import math
import random
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from autograder.cases import shrink, size
from autograder.compare import close, show
from autograder.exercise import Case, Exercise
from autograder.forbid import find_forbidden
from autograder.prepared import LOST, Prepared, Wrong, entry
from autograder.student.observe import Call, Observation
from autograder.student.probes import Oracle
from autograder.student.travel import Packed
from autograder.verdict import Verdict

#: A mistake is named if it explains this share of all that is wrong with the submission or with itself,
SAME_MISTAKE = 0.5
#: or this share of the wrong results alone, warnings and changed inputs aside,
SAME_RESULTS = 0.6
MANNERS = ("warning", "changed")
#: or if this share of all that is wrong with it, in so many places, shows in the submission, which then has other mistakes besides.
ALSO_THIS_MISTAKE, PLACES = 0.9, 3
#: How often a check is asked about each right implementation.
TURNS_OF_RIGHT_ONES = 3


@dataclass(frozen=True)
class Tried:
    """A call that was asked: how small it is, what was seen, and what each accepted implementation gives."""

    size: tuple
    call: Call
    seen: Observation
    expected: Sequence[Observation]


class Student(Protocol):
    """A submission's process, seen from the judge: it is given probes and calls, and answers with observations."""

    def load(self) -> Any:
        """Run the set-up cell and the solution cell; the outcome is a `CellOutcome`, or the part of it that matters."""

    def ask(self, probe: bytes, calls: Sequence[Call] | Packed) -> list[Observation]:
        """Exercise the submission on each call."""


def judge(prepared: Prepared, student: Student, *, points: float, source: str, start: str = "", thorough: bool = True) -> Verdict:
    """The verdict on one solution.

    Parameters
    ----------
    points : what the exercise is worth
    source : the text of the solution cell
    start : the text that the learner was given; the same program again is no attempt
    thorough : let Hypothesis look for the very smallest failing input, up to 2 seconds; else a small one will do
    """
    exercise = prepared.exercise

    def failed(status: str, message: str, **more: Any) -> Verdict:
        return Verdict(exercise.id, 0.0, points, status, _dark(exercise), message, **more)

    if same_program(source, start):
        return failed("not attempted", "Write your solution in place of the line that raises NotImplementedError.")
    shortcut = find_forbidden(source, exercise.forbid)
    if shortcut:
        return failed("forbidden", shortcut)
    outcome = student.load()
    notes = tuple(getattr(outcome, "notes", ()))
    if outcome.status != "ok":
        status = "forbidden" if outcome.error == "ForbiddenError" else outcome.status
        message = outcome.message.removeprefix("ForbiddenError: ")
        return failed(status, message, where=tuple(outcome.where), notes=notes)
    if outcome.missing:
        return failed("error", f"The cell does not define {', '.join(outcome.missing)}. Keep the names of the task.", notes=notes)
    return _measured(prepared, student, points, notes, thorough)


def _dark(exercise: Exercise) -> tuple[tuple[str, bool], ...]:
    return tuple((g.name, False) for g in exercise.groups if g.weight)


def _measured(prepared: Prepared, student: Student, points: float, notes: tuple[str, ...], thorough: bool) -> Verdict:
    exercise, cases = prepared.exercise, prepared.cases
    seen = _ask_all(prepared, student)
    shortcut = next((o for o in seen if o.error == "ForbiddenError"), None)
    if shortcut:
        return Verdict(exercise.id, 0.0, points, "forbidden", _dark(exercise), shortcut.message, where=shortcut.where, notes=notes)
    wrong = prepared.wrong_map(seen)
    if not wrong:
        return Verdict(exercise.id, points, points, "passed", _lamps(exercise, cases, wrong), notes=notes)
    lamps = _lamps(exercise, cases, wrong)
    if all(o.error == "NotImplementedError" for o in seen):
        return Verdict(exercise.id, 0.0, points, "not attempted", lamps, "Your code still raises NotImplementedError.", notes=notes)
    earned = _earned(exercise, cases, wrong, points)
    first = min(i for i, *_ in wrong)
    shown = _explain(prepared, student, wrong, seen, thorough)
    status = "partly" if earned else seen[first].error if seen[first].error in LOST else "failed"
    trap = name_mistake(prepared, wrong)
    teaching = next((t.text for t in exercise.traps if t.id == trap), "")
    return Verdict(exercise.id, earned, points, status, lamps, **shown, trap=trap, teaching=teaching, notes=notes)


def _ask_all(prepared: Prepared, student: Student) -> list[Observation]:
    """Every case, group after group. When the exercise's time is up the rest is not tried: it ends as "time"."""
    if prepared.exercise.is_test:
        return _ask_about_implementations(prepared, student)
    answers: list[Observation] = []
    end = time.monotonic() + prepared.exercise.seconds
    for probe, packed in zip(prepared.probes, prepared.questions):
        late = time.monotonic() > end
        answers += [Observation(error="time")] * len(packed) if late else student.ask(probe, packed)
    return prepared.spread(answers)


def _ask_about_implementations(prepared: Prepared, student: Student) -> list[Observation]:
    """A learner's check on each implementation: one to a question, in an order that nobody can foresee, right ones several times.

    So a check can tell right from wrong by what an implementation computes, not by when or beside which others it is asked about.
    """
    cases, end = prepared.cases, time.monotonic() + prepared.exercise.seconds
    turns = [i for i, c in enumerate(cases) for _ in range(TURNS_OF_RIGHT_ONES if c.group == 0 else 1)]
    random.SystemRandom().shuffle(turns)
    seen: dict[int, Observation] = {}
    for i in turns:
        late = time.monotonic() > end
        now = Observation(error="time") if late else student.ask(prepared.probes[cases[i].group], [cases[i].call])[0]
        if i not in seen or seen[i].value is True:  # one rejection is enough
            seen[i] = now
    return [seen[i] for i in range(len(cases))]


def _lamps(exercise: Exercise, cases: Sequence[Case], wrong: dict[tuple, Wrong]) -> tuple[tuple[str, bool], ...]:
    bad = {cases[i].group for i, *_ in wrong}
    return tuple((g.name, i not in bad) for i, g in enumerate(exercise.groups) if g.weight)


def _earned(exercise: Exercise, cases: Sequence[Case], wrong: dict[tuple, Wrong], points: float) -> float:
    failing = {i for i, *_ in wrong}
    bad = {cases[i].group for i in failing}
    total = sum(g.weight for g in exercise.groups)
    good = sum(g.weight for i, g in enumerate(exercise.groups) if i not in bad)
    if exercise.is_test:
        right_ones = [i for i, c in enumerate(cases) if c.group == 0]
        good -= total * len(failing.intersection(right_ones)) / len(right_ones)
    return math.floor(2 * points * max(0.0, good / total)) / 2


def _explain(
    prepared: Prepared, student: Student, wrong: dict[tuple, Wrong], seen: Sequence[Observation], thorough: bool
) -> dict[str, Any]:
    """A small failing input of the first group that fails, and what happened on it, as fields of a verdict."""
    failing = list(dict.fromkeys(i for i, *_ in wrong))
    group = prepared.cases[failing[0]].group
    failing = [i for i in failing if prepared.cases[i].group == group]
    tried = [Tried(prepared.sizes[i], prepared.cases[i].call, seen[i], [row[i] for row in prepared.expected]) for i in failing]
    lost = next((t for t in tried if t.seen.error in LOST), None)
    if lost is not None:  # trying again would hang or die again
        return _shown(prepared, group, lost, _nearest(prepared, group, lost))
    drawn = next((c for c in (prepared.cases[i] for i in failing) if c.strategy is not None), None)
    smallest = _smallest(prepared, student, group, tried, drawn, thorough)
    if smallest is None:  # a submission that draws random numbers
        return _shown(prepared, group, tried[0], (Observation(), next(w for (i, *_), w in wrong.items() if i == failing[0])))
    return _shown(prepared, group, *smallest)


def _smallest(
    prepared: Prepared, student: Student, group: int, tried: list[Tried], drawn: Case | None, thorough: bool
) -> tuple[Tried, tuple[Observation, Wrong]] | None:
    """The smallest call that fails, and what is wrong there: of those `tried`, and of smaller ones by the strategy of the case `drawn`."""
    probe = prepared.probes[group]
    if drawn:
        ladder = prepared.ladder(drawn)
        tried = tried + [Tried(*rung) for rung in zip(ladder.sizes, ladder.packed, student.ask(probe, ladder.packed), ladder.expected)]
    pairs = ((t, _nearest(prepared, group, t)) for t in sorted(tried, key=lambda t: t.size))
    met = [next((pair for pair in pairs if pair[1]), None)]

    def fails(call: Call) -> bool:
        now = Tried(size(call), call, student.ask(probe, [call])[0], prepared.expect_all(group, call))
        met.append((now, _nearest(prepared, group, now)))
        return met[-1][1] is not None

    if drawn and thorough:
        shrink(drawn.strategy, fails)
    return min((pair for pair in met if pair and pair[1]), key=lambda pair: pair[0].size, default=None)


def _shown(prepared: Prepared, group: int, tried: Tried, found: tuple[Observation, Wrong]) -> dict[str, Any]:
    expected, wrong = found
    counterexample = describe(prepared.exercise, group, tried.call)
    return {"message": wrong.text, "where": tried.seen.where, "counterexample": counterexample, **_pair(expected, tried.seen, wrong)}


def _nearest(prepared: Prepared, group: int, tried: Tried) -> tuple[Observation, Wrong] | None:
    """(expected, what is wrong) against the reference; None if any accepted implementation agrees."""
    found = []
    for expected in tried.expected or (Observation(),):
        wrongs = prepared.wrongs(group, tried.call, tried.seen, expected)
        if not wrongs:
            return None
        found.append((expected, wrongs[0]))
    return found[0]


def _pair(expected: Observation, seen: Observation, wrong: Wrong) -> dict[str, str | None]:
    if wrong.kind in ("accept", "raises", "changed", "warning"):
        return {"expected": None, "got": None}
    if wrong.kind == "error":
        return {"expected": None if expected.value is None else show(expected.value), "got": None}
    return {"expected": show(entry(expected.value, wrong.path)), "got": show(entry(seen.value, wrong.path))}


def describe(exercise: Exercise, group: int, call: Call) -> str:
    """A call as a person would write it: `z = array([1., 2.]), T = 0.5`."""
    if exercise.is_test:
        oracle = call.args[0]
        named = (g.name for g in exercise.groups if g.weight for s in g.sources if s.args[0] is oracle)
        return f"the implementation “{next(named, 'a right one')}”"
    names = _parameters(exercise, group)
    words = [f"{n} = {_show_argument(v)}" for n, v in zip(names, call.args)]
    words += [_show_argument(v) for v in call.args[len(names) :]]
    return ", ".join(words + [f"{k} = {_show_argument(v)}" for k, v in call.kwargs.items()])


def _parameters(exercise: Exercise, group: int) -> list[str]:
    probe = exercise.probe_of(exercise.groups[group])
    if inspect.isfunction(probe):
        return list(inspect.signature(probe).parameters)[1:]
    function = vars(exercise.reference.submission)[exercise.names[0]] if exercise.reference else None
    return list(inspect.signature(function).parameters) if callable(function) else []


def _show_argument(value: Any) -> str:
    if isinstance(value, Oracle):
        return "a function"
    if isinstance(value, np.ndarray) and value.ndim:
        text = show(value).replace("\n      ", "\n")
        return text if value.dtype == np.float64 or "dtype" in text or not value.size else f"{text[:-1]}, dtype={value.dtype})"
    return show(value)


def name_mistake(prepared: Prepared, wrong: dict[tuple, Wrong]) -> str | None:
    """The trap whose wrong results are the submission's, if one's are."""
    scores = []
    for order, (trap, known) in enumerate(prepared.wrong_of_traps.items()):
        agree = {key for key, w in known.items() if key in wrong and _same_token(prepared, key, wrong[key], w)}
        both = _share(agree, known.keys() | wrong.keys())
        results = _share(*({key for key in keys if key[2] not in MANNERS} for keys in (agree, known.keys() | wrong.keys())))
        also = len(agree) >= PLACES and _share(agree, known.keys()) >= ALSO_THIS_MISTAKE
        if both >= SAME_MISTAKE or results >= SAME_RESULTS or also:
            scores.append((both >= SAME_MISTAKE, max(both, results), both, -order, trap))
    return max(scores)[-1] if scores else None


def _share(part: Set, whole: Set) -> float:
    return len(part) / len(whole) if part else 0.0


def _same_token(prepared: Prepared, key: tuple, one: Wrong, other: Wrong) -> bool:
    a, b = one.token, other.token
    if type(a) is int and type(b) is int:  # of any size
        return a == b
    if isinstance(a, (np.ndarray, int, float)) and isinstance(b, (np.ndarray, int, float)):
        a, b = np.asarray(a), np.asarray(b)
        case = prepared.cases[key[0]]
        rtol, atol = prepared.tolerance(prepared.exercise.groups[case.group], case.call)
        if a.shape != b.shape or a.dtype.kind not in "biufc" or b.dtype.kind not in "biufc":
            return False
        return bool(close(a, b, 10 * rtol, 10 * atol).all())
    try:
        return bool(a == b)
    except ValueError:
        return show(a) == show(b)


def same_program(one: str, start: str) -> bool:
    """Whether a cell holds the program that it started with, comments and spacing aside. An empty cell is the same as any start."""
    try:
        mine, theirs = _program(one), _kept_program(start)
    except (SyntaxError, ValueError):
        return one.split() == start.split()
    return mine in (theirs, _kept_program(""))


def _program(text: str) -> str:
    return ast.dump(ast.parse(text))


_kept_program = lru_cache(maxsize=256)(_program)
