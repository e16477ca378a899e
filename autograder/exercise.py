"""What an exercise is: a reference, cases, a probe, and the mistakes that we know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from autograder.student.observe import Call

#: Where cases come from: plain calls, or Hypothesis strategies of calls.
Source = Any


@dataclass(frozen=True)
class Group:
    """A lamp of the card: cases that are passed or failed together."""

    name: str
    sources: tuple[Source, ...]
    probe: Callable | None = None
    accept: Callable | None = None
    weight: float = 1.0
    n: int = 20
    rtol: float | None = None
    atol: float | None = None


@dataclass(frozen=True)
class Implementation:
    """One way to solve an exercise, right or wrong.

    Attributes
    ----------
    id : the name it has in the answers file
    submission : its functions and classes, as attributes
    text : of a trap, what a good teacher would say; of a right solution, what is special about it
    """

    id: str
    submission: SimpleNamespace
    text: str = ""


@dataclass(frozen=True)
class Exercise:
    """One exercise, its hidden side. `chapters/README.md` explains every field."""

    id: str
    names: tuple[str, ...]
    covers: tuple[str, ...]
    reference: Implementation | None
    groups: tuple[Group, ...]
    traps: tuple[Implementation, ...]
    rights: tuple[Implementation, ...]
    alternatives: tuple[Implementation, ...]
    probe: Callable
    forbid: Mapping[str, str]
    keeps_dtype: bool = False
    warnings: str = "error"
    inplace: bool = False
    rtol: float | None = None
    atol: float | None = None
    seconds: float = 10.0
    is_test: bool = False

    def probe_of(self, group: Group) -> Callable:
        """The probe that exercises an implementation on the cases of `group`."""
        return group.probe or self.probe

    @property
    def accepted(self) -> tuple[Implementation, ...]:
        """Implementations whose results are right: the reference and its alternatives."""
        return ((self.reference,) if self.reference else ()) + self.alternatives


@dataclass(frozen=True)
class Case:
    """One call of one group, and the strategy that drew it, if one did, by which choices."""

    group: int
    call: Call
    strategy: Any = None
    choices: tuple = ()
