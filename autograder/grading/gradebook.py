"""Write grades into nbgrader's database: one writer, and one transaction for each submission.

nbgrader's own methods commit after every step, so that a killed run leaves half a grade. Here the same rows are made with nbgrader's own
classes and committed at once.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from autograder.errors import CourseError
from autograder.grading.judging import Graded
from autograder.grading.register import open_gradebook
from autograder.grading.settings import Settings, quiet_nbgrader


@dataclass(frozen=True)
class Record:
    """A submission as the gradebook has it.

    Attributes
    ----------
    score, max_score : with what graders changed by hand, before the penalty
    by_hand : cell → what a grader gave by hand
    comments : solution cell → what a grader wrote
    """

    score: float
    max_score: float
    seconds_late: float = 0.0
    penalty: float = 0.0
    timestamp: datetime | None = None
    by_hand: Mapping[str, float] = ()  # type: ignore[assignment]
    comments: Mapping[str, str] = ()  # type: ignore[assignment]
    due: datetime | None = None

    @property
    def by_people(self) -> str:
        """What is not the autograder's, as one text."""
        return _by_people(self.by_hand, self.comments, self.timestamp, self.due)


@dataclass(frozen=True)
class Known:
    """What the gradebook has of a submission that was graded before.

    Attributes
    ----------
    scores : cell → the score that the autograder gave
    by_people : as in `Record`
    """

    scores: Mapping[str, float | None]
    by_people: str


def _by_people(by_hand: Mapping[str, float], comments: Mapping[str, str], timestamp: datetime | None, due: datetime | None) -> str:
    return json.dumps([sorted(dict(by_hand).items()), sorted(dict(comments).items()), str(timestamp), str(due)])


def _by_hand(auto: float | None, manual: float | None, extra: float | None) -> float | None:
    """What a grader has given for a cell; None if that is the autograder's affair."""
    if manual is not None:
        return manual + (extra or 0.0)
    return (auto or 0.0) + extra if extra else None


class Writer:
    """The one writer of a gradebook."""

    def __init__(self, gradebook: Any, settings: Settings) -> None:
        from nbgrader.preprocessors import AssignLatePenalties

        self.gradebook, self.db = gradebook, gradebook.db
        self.db().expire_on_commit = False  # assignments and cells stay as they are while there is one writer
        self._names: dict[str, dict[str, str]] = {}
        self._late = AssignLatePenalties(config=settings.config, log=quiet_nbgrader())
        self._late.init_plugin()

    def known(self, chapter: str) -> dict[str, Known]:
        """Student → what the gradebook has, for all that have been graded."""
        from nbgrader.api import Assignment, BaseCell, Comment, Grade, SubmittedAssignment, SubmittedNotebook

        def of_cells(table: Any, *columns: Any) -> Any:
            return (
                self.db.query(SubmittedAssignment.student_id, BaseCell.name, *columns)
                .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
                .join(table, table.notebook_id == SubmittedNotebook.id)
                .join(BaseCell, BaseCell.id == table.cell_id)
                .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
                .filter(Assignment.name == chapter)
            )

        due = self.db.query(Assignment.duedate).filter(Assignment.name == chapter).scalar()
        times = self.db.query(SubmittedAssignment.student_id, SubmittedAssignment.timestamp).join(
            Assignment, Assignment.id == SubmittedAssignment.assignment_id
        )
        scores, by_hand, comments = defaultdict(dict), defaultdict(dict), defaultdict(dict)
        for student, cell, auto, manual, extra in of_cells(Grade, Grade.auto_score, Grade.manual_score, Grade.extra_credit):
            scores[student][cell] = auto
            given = _by_hand(auto, manual, extra)
            if given is not None:
                by_hand[student][cell] = given
        for student, cell, comment in of_cells(Comment, Comment.manual_comment):
            if comment:
                comments[student][cell] = comment
        return {
            student: Known(scores[student], _by_people(by_hand[student], comments[student], timestamp, due))
            for student, timestamp in times.filter(Assignment.name == chapter)
        }

    def record(
        self, chapter: str, slug: str, student: str, graded: Graded, timestamp: datetime | None, outdated: datetime | None = None
    ) -> Record:
        """Write the grades of one submission, all or nothing.

        Parameters
        ----------
        timestamp : when it was handed in, if that is known; what the gradebook says stays otherwise, unless it is `outdated`

        Raises
        ------
        CourseError : the gradebook cannot be written now
        """
        from sqlalchemy.exc import OperationalError

        try:
            submission = self._submission(chapter, student)
            if timestamp or submission.timestamp == outdated:
                submission.timestamp = timestamp
            notebook = next(n for n in submission.notebooks if n.name == slug)
            self._grade(notebook, graded)
            self.db.flush()
            self.db.expire(notebook)
            record = _record(submission, notebook, self._penalty(submission, notebook, student))
            self.db.commit()  # afterwards everything would have to be read again
            return record
        except OperationalError as error:
            self.db.rollback()
            raise CourseError(f"The gradebook cannot be written ({error.orig}). Is another program at work on it? Run it again.") from None
        except BaseException:
            self.db.rollback()
            raise

    def _submission(self, chapter: str, student: str) -> Any:
        from nbgrader.api import Comment, Grade, MissingEntry, Student, SubmittedAssignment, SubmittedNotebook

        try:
            return self.gradebook.find_submission(chapter, student)
        except MissingEntry:
            pass
        known = self.db.get(Student, student) or Student(id=student)
        with self.db.no_autoflush:
            submission = SubmittedAssignment(assignment=self.gradebook.find_assignment(chapter), student=known)
            self.db.add(submission)
            for notebook in submission.assignment.notebooks:
                submitted = SubmittedNotebook(notebook=notebook, assignment=submission)
                self.db.add(submitted)
                self.db.add_all(Grade(cell_id=c.id, notebook=submitted) for c in (*notebook.grade_cells, *notebook.task_cells))
                self.db.add_all(Comment(cell_id=c.id, notebook=submitted) for c in (*notebook.solution_cells, *notebook.task_cells))
        self.db.flush()
        return submission

    def _grade(self, notebook: Any, graded: Graded) -> None:
        points = {c.slot.grade_id: c.verdict.points for c in graded.cells}
        empty = {c.slot.solution_id for c in graded.cells if c.verdict.status in ("not attempted", "not run")}
        names = self._names_of_cells(notebook.notebook_id)
        for grade in notebook.grades:
            name = names[grade.cell_id]
            if name in points:
                grade.auto_score = points[name]
                grade.needs_manual_grade = grade.manual_score is not None  # as nbgrader: a grader looks again
        for comment in notebook.comments:
            comment.auto_comment = "No response." if names[comment.cell_id] in empty else None

    def _names_of_cells(self, notebook: str) -> dict[str, str]:
        """Id of a cell in the database → its grade_id. To ask each grade for its name costs a query each time."""
        from nbgrader.api import BaseCell

        if notebook not in self._names:
            found = self.db.query(BaseCell.id, BaseCell.name).filter(BaseCell.notebook_id == notebook)
            self._names[notebook] = dict(row.tuple() for row in found)
        return self._names[notebook]

    def _penalty(self, submission: Any, notebook: Any, student: str) -> float:
        notebook.late_submission_penalty = None
        late = submission.total_seconds_late
        if late > 0:
            penalty = self._late.plugin_inst.late_submission_penalty(student, notebook.score, late)
            if penalty is not None:
                notebook.late_submission_penalty = self._late._check_late_penalty(notebook, penalty)
        return notebook.late_submission_penalty or 0.0


def scores_of(settings: Settings, chapter: str) -> dict[str, Mapping[str, float | None]]:
    """Student → graded cell → the score that the autograder gave, as the gradebook of a course has it."""
    with open_gradebook(settings) as gradebook:
        return {student: known.scores for student, known in Writer(gradebook, settings).known(chapter).items()}


def _record(submission: Any, notebook: Any, penalty: float) -> Record:
    given = {g.name: _by_hand(g.auto_score, g.manual_score, g.extra_credit) for g in notebook.grades}
    comments = {c.name: c.manual_comment for c in notebook.comments if c.manual_comment}
    return Record(
        score=notebook.score,
        max_score=notebook.max_score,
        seconds_late=submission.total_seconds_late,
        penalty=penalty,
        timestamp=submission.timestamp,
        by_hand={cell: points for cell, points in given.items() if points is not None},
        due=submission.assignment.duedate,
        comments=comments,
    )
