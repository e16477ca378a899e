"""Reach the verdicts on one submission."""

import ast
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudpickle

from autograder.errors import SandboxError
from autograder.grading.blueprint import Blueprint, Slot
from autograder.grading.outputs import cell_outputs
from autograder.grading.submission import MAX_CELL, Submission
from autograder.judge import judge, same_program
from autograder.quiz import mark
from autograder.quiz_verdict import quiz_verdict
from autograder.solo import limits_of
from autograder.student.limits import Limits
from autograder.student.observe import Call
from autograder.student.probes import ReadName
from autograder.student.process import Zygote
from autograder.student.warm import ON_FIRST_USE
from autograder.verdict import Verdict

#: How long all exercises of one submission may take together; what comes after is not run.
SUBMISSION_SECONDS = 180.0
LATE = f"Your other exercises took more than {SUBMISSION_SECONDS / 60:g} minutes together. This one was not run any more."
MISSING = "The cell of this exercise is missing in the notebook that was handed in."


@dataclass(frozen=True)
class GradedCell:
    """One graded cell: the verdict, the text it is about, and what running that text showed, made harmless, in nbformat's terms."""

    slot: Slot
    verdict: Verdict
    source: str = ""
    outputs: Sequence[dict[str, Any]] = ()
    failure: str = ""


@dataclass(frozen=True)
class Graded:
    """The verdicts on one submission.

    Attributes
    ----------
    problem : why nothing of it could be graded, or ""
    seconds, cpu : by the clock, and of the judge's processor
    """

    cells: tuple[GradedCell, ...]
    problem: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def points(self) -> float:
        """The sum of all verdicts."""
        return sum(c.verdict.points for c in self.cells)

    @property
    def max_points(self) -> float:
        """What could be earned."""
        return sum(c.verdict.max_points for c in self.cells)

    @property
    def failures(self) -> list[str]:
        """Where the grader itself failed; an instructor must know."""
        return [c.failure for c in self.cells if c.failure]


@dataclass
class Bench:
    """What a worker judges with: a zygote that is started when it is first needed, and again should it die.

    Attributes
    ----------
    hidden : folders that submissions must not be able to read
    lent : whether the zygote belongs to another process
    thorough : look for the very smallest failing input, see `judge`
    """

    sandbox: str = "full"
    limits: Limits = field(default_factory=Limits)
    hidden: tuple[Path, ...] = ()
    started: Zygote | None = None
    lent: bool = False
    thorough: bool = False

    @property
    def zygote(self) -> Zygote:
        """The process that forks submissions."""
        if self.started is None:
            self.started = Zygote(limits=self.limits, sandbox=self.sandbox, hidden=[*map(str, self.hidden)], imports=[ON_FIRST_USE])
        return self.started

    def close(self) -> None:
        """End the zygote, if it is our own."""
        if self.started is not None and not self.lent:
            self.started.close()
        self.started, self.lent = None, False

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def judge_submission(
    blueprint: Blueprint,
    submission: Submission,
    bench: Bench,
    done: Callable[[Verdict], None] = lambda verdict: None,
    *,
    backwards: bool = False,
) -> Graded:
    """The verdict on every graded cell, each in a process of its own. Whatever is wrong with a submission, every cell gets one.

    Parameters
    ----------
    done : called with each verdict as it is reached
    backwards : begin with the last cell; the verdicts are the same
    """
    began, cpu = time.monotonic(), time.process_time()
    cells = []
    for slot in reversed(blueprint.slots) if backwards else blueprint.slots:
        late = LATE if time.monotonic() - began > SUBMISSION_SECONDS else ""
        problem = submission.problem or late
        cell = _not_run(slot, problem) if problem else _judged(blueprint, slot, submission, bench)
        notes = submission.notes.get(slot.solution_id, ())
        cell = replace(cell, verdict=replace(cell.verdict, notes=(*notes, *cell.verdict.notes)))
        done(cell.verdict)
        cells.append(cell)
    cells = cells[::-1] if backwards else cells
    return Graded(tuple(cells), submission.problem, (), time.monotonic() - began, time.process_time() - cpu)


def _not_run(slot: Slot, reason: str, status: str = "not run", **more: Any) -> GradedCell:
    return GradedCell(slot, Verdict(slot.exercise, 0.0, slot.points, status, message=reason), **more)


def _judged(blueprint: Blueprint, slot: Slot, submission: Submission, bench: Bench) -> GradedCell:
    source = submission.sources.get(slot.solution_id)
    if source is None:
        return _not_run(slot, MISSING, "not attempted")
    if len(source) > MAX_CELL:
        return _not_run(slot, f"The cell has more than {MAX_CELL} characters, which are not run.")
    try:
        return _again_if_the_zygote_died(blueprint, slot, source, bench)
    except (RecursionError, MemoryError):
        return _not_run(slot, "The cell's text nests too deep to be read.", "error", source=source)
    except SandboxError:
        raise
    except Exception as error:
        reason = "The grader failed on this cell. This is not the student's fault: tell the instructor."
        return _not_run(slot, reason, source=source, failure=f"{slot.exercise}: {type(error).__name__}: {error}")


def _again_if_the_zygote_died(blueprint: Blueprint, slot: Slot, source: str, bench: Bench) -> GradedCell:
    run = _answer_sheet if slot.exercise not in blueprint.chapter.tasks else _exercise
    try:
        return run(blueprint, slot, source, bench)
    except SandboxError:
        bench.close()
        return run(blueprint, slot, source, bench)


def _exercise(blueprint: Blueprint, slot: Slot, source: str, bench: Bench) -> GradedCell:
    prepared = blueprint.chapter.prepared[slot.exercise]
    exercise, setup = prepared.exercise, blueprint.chapter.setup
    limits = limits_of(exercise, bench.limits)
    with bench.zygote.submission(
        setup, source, name=slot.exercise, wanted=exercise.names, forbid=exercise.forbid, limits=limits
    ) as student:
        verdict = judge(prepared, student, points=slot.points, source=source, start=slot.start, thorough=bench.thorough)
        return GradedCell(slot, verdict, source, cell_outputs(student.outcome))


def _answer_sheet(blueprint: Blueprint, slot: Slot, source: str, bench: Bench) -> GradedCell:
    answers, outcome = literal_answers(source), None
    if answers is None and not same_program(source, slot.start):
        with bench.zygote.submission(blueprint.chapter.setup, source, name=slot.exercise) as student:
            outcome = student.load()
            seen = student.ask(_READ_ANSWERS, [Call(())])[0] if outcome.status == "ok" else None
            answers = seen.value if seen and not seen.error else None
            if outcome.status != "ok":
                return _not_run(slot, outcome.message, outcome.status, source=source, outputs=cell_outputs(outcome))
    return GradedCell(slot, quiz_verdict(blueprint.chapter.name, mark(blueprint.chapter.questions, answers)), source, cell_outputs(outcome))


_READ_ANSWERS = cloudpickle.dumps(ReadName("answers"))


def literal_answers(source: str) -> dict[Any, Any] | None:
    """The answers of a cell that is nothing but `answers = {…}` written out; None if it is anything else."""
    try:
        body = ast.parse(source).body
        match body:
            case [ast.Assign(targets=[ast.Name(id="answers")], value=ast.Dict() as value)]:
                return ast.literal_eval(value)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    return None


def graded_notebook(blueprint: Blueprint, submission: Submission, graded: Graded) -> dict[str, Any]:
    """The rebuilt notebook with verdicts under the graded cells and the submission's outputs under its own."""
    return show_verdicts(blueprint.rebuild(submission), graded)


def show_verdicts(notebook: dict[str, Any], graded: Graded) -> dict[str, Any]:
    """Put verdicts and outputs into a rebuilt notebook, in place; other cells show nothing."""
    outputs = {c.slot.grade_id: [verdict_output(c.verdict)] for c in graded.cells}
    outputs |= {c.slot.solution_id: [*c.outputs] for c in graded.cells}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            id = cell["metadata"].get("nbgrader", {}).get("grade_id")
            cell["outputs"], cell["execution_count"] = outputs.get(id, []), None
    return notebook


def verdict_output(verdict: Verdict) -> dict[str, Any]:
    """A verdict as a cell's result: the points for nbgrader, a card for people."""
    data = {"text/plain": repr(verdict), "text/html": verdict._repr_html_()}
    return {"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": data}


def as_text(notebook: Mapping[str, Any]) -> str:
    """A notebook as it is written to a file."""
    return json.dumps(notebook, ensure_ascii=False, sort_keys=True) + "\n"  # indented, it would take ten times as long
