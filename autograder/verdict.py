"""What a learner is told: points, lamps, the smallest failing input, the misconception."""

from dataclasses import asdict, dataclass
from typing import Any

#: Every graded cell ends in one of these.
STATUSES = ("passed", "partly", "failed", "error", "time", "memory", "died", "forbidden", "not attempted", "not run")


@dataclass(frozen=True)
class Verdict:
    """The outcome of one exercise.

    `repr` is the points, which nbgrader reads as partial credit; `_repr_html_` is the card for people.

    Attributes
    ----------
    lamps : (group, passed) in the order of the exercise
    message : one sentence: what is wrong
    counterexample : the smallest input found on which it shows, as text; with `expected` and `got`
    trap, teaching : id and words of the known mistake whose results are the same
    where : the learner's own lines of a traceback
    notes : what else a learner should know, such as skipped magics
    """

    exercise: str
    points: float
    max_points: float
    status: str
    lamps: tuple[tuple[str, bool], ...] = ()
    message: str = ""
    counterexample: str | None = None
    expected: str | None = None
    got: str | None = None
    trap: str | None = None
    teaching: str = ""
    where: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the exercise is solved in full."""
        return self.status == "passed"

    def __repr__(self) -> str:
        return repr(float(self.points))

    def _repr_html_(self) -> str:
        from autograder.card import card

        return card(self)

    def as_json(self) -> dict[str, Any]:
        """All fields as JSON knows them; `message` is the teacher's sentence where a trap matched."""
        return {**asdict(self), "passed": self.passed, "message": self.teaching or self.message, "finding": self.message}
