"""What a learner is told: points, lamps, the smallest failing input, the misconception."""

from dataclasses import asdict, dataclass
from typing import Any

from autograder.student.plaintext import clean

#: How many characters of one text, and how many lines or notes, a learner is told.
_MOST_TEXT, _MOST_LINES = 4000, 20
#: Every graded cell ends in one of these.
STATUSES = ("passed", "partly", "failed", "error", "time", "memory", "died", "forbidden", "not attempted", "not run")


@dataclass(frozen=True)
class Verdict:
    """The outcome of one exercise.

    Texts hold words of the submission: they are made fit to be shown, and limited.

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

    def __post_init__(self) -> None:
        for name in ("message", "counterexample", "expected", "got", "teaching"):
            text = getattr(self, name)
            if text is not None:
                object.__setattr__(self, name, clean(text, _MOST_TEXT))
        for name in ("where", "notes"):
            object.__setattr__(self, name, tuple(clean(line, _MOST_TEXT) for line in getattr(self, name)[:_MOST_LINES]))

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
