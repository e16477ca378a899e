"""What a batch needs once: the cases of an exercise, the expected results, what each trap does, and the probes, packed to travel."""

import copy
import dis
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import CodeType, FunctionType
from typing import Any

import cloudpickle
import numpy as np

from autograder.cases import Drawn, assemble, draw, ladder, size
from autograder.compare import TOLERANCES, differences
from autograder.errors import AuthoringError
from autograder.exercise import Case, Exercise, Group, Implementation
from autograder.networks import NetworkError
from autograder.student.observe import Call, Observation, observe
from autograder.student.travel import Packed, pack

#: What a reference may raise to say: this input must be refused in this way.
REFUSALS = ("ValueError", "TypeError", "KeyError", "IndexError")


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong with one observation.

    Attributes
    ----------
    path : the entry of the result, or "" for all of it
    kind : "error", "warning", "changed", "accept", or the kind of a `compare.Difference`
    text : one sentence
    token : what two submissions that make the same mistake have in common here
    """

    path: str
    kind: str
    text: str
    token: Any = None


@dataclass(frozen=True)
class Ladder:
    """Small calls of one strategy, with what is known of each.

    Attributes
    ----------
    packed : the calls as they travel
    expected : for each call, what each accepted implementation gives
    sizes : how small each call is
    """

    packed: Packed
    expected: list[list[Observation]]
    sizes: list[tuple]


class Prepared:
    """An exercise with everything that does not depend on a submission. Computed on first use, kept for the batch."""

    def __init__(self, exercise: Exercise) -> None:
        self.exercise = exercise
        self._ladders: dict[int, Ladder] = {}

    @cached_property
    def drawn(self) -> Drawn:
        """What the strategies drew."""
        return draw(self.exercise)

    @cached_property
    def cases(self) -> list[Case]:
        """All cases, group after group."""
        return assemble(self.exercise, self.drawn)

    @cached_property
    def sizes(self) -> list[tuple]:
        """How small each case is."""
        return [size(case.call) for case in self.cases]

    def ladder(self, case: Case) -> Ladder:
        """Small calls of the strategy that drew `case`."""
        key = id(case.strategy)
        if key not in self._ladders:
            calls = ladder([c for c in self.cases if c.strategy is case.strategy])
            self._ladders[key] = Ladder(pack(calls), [self.expect_all(case.group, c) for c in calls], [size(c) for c in calls])
        return self._ladders[key]

    @cached_property
    def probes(self) -> list[bytes]:
        """Each group's probe as it travels to the learner's process."""
        return [pack_probe(self.exercise, group) for group in self.exercise.groups]

    @cached_property
    def first_asked(self) -> list[int]:
        """For each case the one of an earlier group that is the same call through the same probe, or itself. It is asked once."""
        first: dict[tuple[int, int], int] = {}
        probes = [id(self.exercise.probe_of(g)) for g in self.exercise.groups]
        found = [first.setdefault((id(c.call), probes[c.group]), i) for i, c in enumerate(self.cases)]
        return [f if self.cases[f].group != c.group else i for i, (f, c) in enumerate(zip(found, self.cases))]

    @cached_property
    def questions(self) -> list[Packed]:
        """Each group's calls as they travel, without those that an earlier group asks."""
        asked = [(c.group, c.call) for i, c in enumerate(self.cases) if self.first_asked[i] == i]
        return [pack([call for own, call in asked if own == group]) for group in range(len(self.exercise.groups))]

    @cached_property
    def _tolerances(self) -> dict[int, tuple[float, float]]:
        return {id(c.call): self._tolerance(self.exercise.groups[c.group], c.call) for c in self.cases}

    @cached_property
    def expected(self) -> list[list[Observation]]:
        """For each accepted implementation, what it gives on each case."""
        return [[self.expect(impl, case.group, case.call) for case in self.cases] for impl in self.exercise.accepted]

    @cached_property
    def wrong_of_traps(self) -> dict[str, dict[tuple, Wrong]]:
        """For each trap, what is wrong with it, by case, entry and kind."""
        return {trap.id: self.wrong_of(trap) for trap in self.exercise.traps}

    def wrong_of(self, trap: Implementation) -> dict[tuple, Wrong]:
        """What is wrong with one trap, by case, entry and kind."""
        asked = (c for i, c in enumerate(self.cases) if self.first_asked[i] == i)
        return self.wrong_map(self.spread(self.run(trap, c.group, c.call) for c in asked))

    def spread(self, answers: Iterable[Observation]) -> list[Observation]:
        """What was seen on every case, from the answers to those that were asked."""
        left, seen = iter(answers), []
        for i, first in enumerate(self.first_asked):
            seen.append(next(left) if first == i else seen[first])
        return seen

    def run(self, implementation: Implementation, group: int, call: Call) -> Observation:
        """Our own implementation on one case, in this process."""
        probe = self.exercise.probe_of(self.exercise.groups[group])
        return observe(probe, implementation.submission, call, lambda file: False)

    def expect(self, implementation: Implementation, group: int, call: Call) -> Observation:
        """The expected result, in double precision."""
        if self.exercise.groups[group].accept:
            return Observation()
        seen = self.run(implementation, group, Call(*doubled((call.args, dict(call.kwargs)))))
        if seen.error and seen.error not in REFUSALS:
            name = self.exercise.groups[group].name
            raise AuthoringError(
                f"{self.exercise.id}, group {name!r}: the {implementation.id} raised {seen.error}: {seen.message} on {call}"
            )
        return seen

    def expect_all(self, group: int, call: Call) -> list[Observation]:
        """What each accepted implementation gives on one case."""
        return [self.expect(implementation, group, call) for implementation in self.exercise.accepted]

    def wrong_map(self, seen: list[Observation]) -> dict[tuple, Wrong]:
        """What is wrong with a submission, by (case, entry, kind), measured against the accepted implementation that it is nearest to."""
        maps = [
            {(i, w.path, w.kind): w for i, (c, o) in enumerate(zip(self.cases, seen)) for w in self.wrongs(c.group, c.call, o, expected[i])}
            for expected in self.expected or [[Observation()] * len(self.cases)]
        ]
        return min(maps, key=lambda m: len({i for i, *_ in m}))

    def wrongs(self, group: int, call: Call, seen: Observation, expected: Observation) -> list[Wrong]:
        """Everything that is wrong with one observation; empty if it is right."""
        if seen.error:
            refused = seen.error == expected.error
            text = f"Your code raised {seen.error}: {seen.message}" if seen.message else f"Your code raised {seen.error}."
            return [] if refused else [Wrong("", "error", LOST.get(seen.error, text), ("error", seen.error))]
        if expected.error:
            text = f"Your code accepted an input that it must refuse with {expected.error}."
            return [Wrong("", "raises", text, ("accepted", expected.error))]
        rules = self.exercise.groups[group]
        found = list(self._judged(rules, call, seen) if rules.accept else self._compared(rules, call, seen, expected))
        return found + list(self._manners(seen))

    def _judged(self, rules: Group, call: Call, seen: Observation) -> Iterator[Wrong]:
        try:
            answer = rules.accept(seen.value, *call.args, **call.kwargs)
        except NetworkError as error:
            answer = str(error)
        except Exception:
            answer = "The result has not the form that the task asks for."
        if answer is not True and not (isinstance(answer, np.bool_) and answer):
            text = answer if isinstance(answer, str) else "The result has not the property that the task asks for."
            yield Wrong("", "accept", text, re.sub(r"[-+]?\d[\d.e+-]*|\binf\b|\bnan\b", "#", text))

    def _compared(self, rules: Group, call: Call, seen: Observation, expected: Observation) -> Iterator[Wrong]:
        rtol, atol = self.tolerance(rules, call)
        dtype = first_float_dtype(call) if self.exercise.keeps_dtype else None
        for d in differences(expected.value, seen.value, rtol, atol, dtype):
            subject = f"Entry {d.path} of the result" if d.path else "The result"
            yield Wrong(d.path, d.kind, f"{subject} {d.text}.", entry(seen.value, d.path))

    def _manners(self, seen: Observation) -> Iterator[Wrong]:
        if seen.warnings and self.exercise.warnings == "error":
            yield Wrong("", "warning", f"Your code warned: {seen.warnings[0]}.", seen.warnings)
        if seen.changed and not self.exercise.inplace:
            yield Wrong("", "changed", f"Your code changed its input ({', '.join(seen.changed)}): work on a copy.", seen.changed)

    def tolerance(self, rules: Group, call: Call) -> tuple[float, float]:
        """(rtol, atol) for one case: the group's, else the exercise's, else what the lowest precision among the inputs allows."""
        return self._tolerances.get(id(call)) or self._tolerance(rules, call)

    def _tolerance(self, rules: Group, call: Call) -> tuple[float, float]:
        sizes = [d.itemsize for d in float_dtypes(call)]
        by_dtype = TOLERANCES[min([8, *sizes])]
        own = (rules.rtol, self.exercise.rtol), (rules.atol, self.exercise.atol)
        return tuple(next((v for v in o if v is not None), d) for o, d in zip(own, by_dtype))  # type: ignore[return-value]


#: How a process can be lost on a case, and what a learner is told.
LOST = {
    "time": "Your code did not finish in time.",
    "memory": "Your code needs more memory than it may have.",
    "died": "Your code ended the process it runs in.",
}


def entry(value: Any, path: str) -> Any:
    """The entry of a result that `path` names; None if there is none."""
    for key in re.findall(r"\[('(?:[^'\\]|\\.)*'|-?\d+)\]", path):
        try:
            value = value[key[1:-1] if key.startswith("'") else int(key)]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def float_dtypes(value: Any) -> list[np.dtype]:
    """The dtypes of all floating arrays and tensors within a call, in order."""
    if isinstance(value, Call):
        return float_dtypes((*value.args, *value.kwargs.values()))
    if isinstance(value, dict):
        return float_dtypes(list(value.values()))
    if isinstance(value, (list, tuple)):
        return [d for v in value for d in float_dtypes(v)]
    name = str(getattr(value, "dtype", "")).replace("torch.", "").replace("bfloat16", "float16")
    return [np.dtype(name)] if name in ("float16", "float32", "float64") else []


def first_float_dtype(call: Call) -> np.dtype | None:
    """The dtype of the first floating array of a call."""
    return next(iter(float_dtypes(call)), None)


def doubled(value: Any) -> Any:
    """`value` with floating arrays and tensors raised to float64."""
    if isinstance(value, dict):
        return {k: doubled(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(doubled(v) for v in value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64)
    if type(value).__module__ == "torch" and getattr(value, "is_floating_point", lambda: False)():
        return copy.deepcopy(value).double()
    return value


def pack_probe(exercise: Exercise, group: Group) -> bytes:
    """A group's probe, pickled by value.

    Raises
    ------
    AuthoringError : if the probe would take along something hidden
    """
    probe = exercise.probe_of(group)
    implementations = (*exercise.accepted, *exercise.traps, *exercise.rights)
    hidden = {id(f) for i in implementations for f in vars(i.submission).values()}
    hidden |= {id(v) for i in exercise.accepted for f in vars(i.submission).values() for _, v in travels_with(f)}
    for name, value in travels_with(probe):
        if id(value) in hidden or isinstance(value, (Exercise, Implementation)):
            raise AuthoringError(
                f"{exercise.id}, group {group.name!r}: the probe names {name}, which the reference is made of. "
                "A probe travels to the learner's process: give it a helper of its own."
            )
    return cloudpickle.dumps(probe)


def travels_with(function: Any, seen: set[int] | None = None) -> list[tuple[str, Any]]:
    """The functions and classes of an answers file that pickling `function` by value takes along, with their names."""
    seen = set() if seen is None else seen
    if isinstance(function, type):
        parts = [f for f in vars(function).values() if isinstance(f, FunctionType)]
        return [pair for f in (*parts, *function.__bases__) for pair in travels_with(f, seen)]
    if not isinstance(function, FunctionType) or id(function) in seen:
        return []
    seen.add(id(function))
    named = [(n, function.__globals__[n]) for n in _names(function.__code__) if n in function.__globals__]
    cells = [(f"a variable around {function.__name__}", c.cell_contents) for c in function.__closure__ or () if _filled(c)]
    own = [(n, v) for n, v in (*named, *cells) if _is_own(v, function)]
    return own + [pair for _, v in own for pair in travels_with(v, seen)]


def _is_own(value: Any, function: FunctionType) -> bool:
    return getattr(value, "__module__", None) == function.__module__ or isinstance(value, (Exercise, Implementation))


def _names(code: CodeType) -> set[str]:
    """The global names that code reads; an attribute of the same name is none."""
    own = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*(_names(c) for c in code.co_consts if isinstance(c, CodeType)))


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
