"""Many submissions: the gradebook, the pages, what is done again and what is not."""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from datetime import datetime

import pytest
from course import CHAPTER, ENVIRONMENT, RIGHT, ROOT, SQUARE, hand_in, recorded
from rich.console import Console
from sqlalchemy.exc import OperationalError

from autograder.course import chapters
from autograder.errors import CourseError
from autograder.grading import batch as module
from autograder.grading import summary, worker
from autograder.grading.batch import Options, grade_course
from autograder.grading.gradebook import Writer
from autograder.grading.pool import run_jobs
from autograder.grading.settings import Settings
from autograder.grading.shared import start_if_needed
from autograder.grading.timestamps import handed_in, parse_time

FULL = {"mini-double": 2.0, "mini-root": 3.0, "mini-quiz": 2.0}


class Here(Executor):
    """Runs jobs at once, in this process."""

    def submit(self, work, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


@pytest.fixture
def grade(course, bench, monkeypatch):
    monkeypatch.chdir(course)
    monkeypatch.setitem(worker._benches, (os.getpid(), "none"), bench)

    def run(**more):
        return grade_course(Settings(course), list(chapters(course).values()), Options(sandbox="none", make=lambda n: Here(), **more))

    return run


def of(course, student):
    return {cell: score for (who, cell), score in recorded(course).items() if who == student}


def test_grades_pages_and_notebooks_are_written(course, grade):
    hand_in(course, "ann", RIGHT)
    hand_in(course, "bob", {"mini.double": SQUARE})
    hand_in(course, "cyd", b"{damaged")
    (course / "submitted" / "dan" / CHAPTER).mkdir(parents=True)
    batch = grade()
    assert [e.state for e in batch.entries] == ["graded"] * 4
    assert of(course, "ann") == FULL
    assert of(course, "bob") == of(course, "cyd") == of(course, "dan") == dict.fromkeys(FULL, 0.0)
    assert "This is the square." in (course / "feedback" / "bob" / CHAPTER / "mini.html").read_text()
    assert "damaged" in (course / "feedback" / "cyd" / CHAPTER / "mini.html").read_text()
    assert "There is no file mini.ipynb" in (course / "feedback" / "dan" / CHAPTER / "mini.html").read_text()
    assert json.loads((course / "autograded" / "ann" / CHAPTER / "mini.ipynb").read_text())["nbformat"] == 4


def test_only_what_changed_is_graded_again(course, grade):
    hand_in(course, "ann", RIGHT)
    hand_in(course, "bob", RIGHT)
    grade()
    hand_in(course, "bob", {})
    assert [e.state for e in grade().entries] == ["unchanged", "graded"]
    assert [e.state for e in grade(force=True).entries] == ["graded", "graded"]
    assert of(course, "bob") == dict.fromkeys(FULL, 0.0)


def test_what_is_missing_in_the_gradebook_or_on_disk_is_graded_again(course, grade):
    hand_in(course, "ann", RIGHT)
    grade()
    (course / "feedback" / "ann" / CHAPTER / "mini.html").unlink()
    assert grade().entries[0].state == "graded"
    import sqlite3

    with sqlite3.connect(course / "gradebook.db") as db:
        db.execute("update grade set auto_score = 0")
    assert grade().entries[0].state == "graded"
    assert of(course, "ann") == FULL


def test_an_unknown_student_or_chapter_is_named(course, grade):
    hand_in(course, "annette", RIGHT)
    with pytest.raises(CourseError, match="Did you mean 'annette'"):
        grade(students=("anette",))
    from autograder.course import find_chapter

    with pytest.raises(CourseError, match="Did you mean 'mini'"):
        find_chapter(course, "minni")


def test_a_failure_of_the_grader_is_told_and_costs_nobody_else(course, grade, monkeypatch):
    hand_in(course, "ann", RIGHT)
    hand_in(course, "bob", RIGHT)

    def fails_for_ann(job):
        if job.student == "ann":
            raise ZeroDivisionError("a bug")
        return worker.grade_job(job)

    monkeypatch.setattr(module, "grade_job", fails_for_ann)
    batch = grade()
    assert [e.state for e in batch.entries] == ["failed", "graded"]
    assert "a bug" in batch.entries[0].why
    monkeypatch.undo()


def test_a_failed_submission_is_tried_again(course, grade, monkeypatch):
    hand_in(course, "ann", RIGHT)
    with monkeypatch.context() as patch:
        patch.setattr(module, "grade_job", lambda job: 1 / 0)
        assert grade().entries[0].state == "failed"
    assert grade().entries[0].state == "graded"
    assert of(course, "ann") == FULL


def test_late_work_and_what_graders_gave_by_hand(course, grade):
    from nbgrader.api import Gradebook

    hand_in(course, "ann", RIGHT)
    (course / "submitted" / "ann" / CHAPTER / "timestamp.txt").write_text("2026-03-02 10:00:00 UTC")
    config = course / "nbgrader_config.py"
    config.write_text(config.read_text() + '\nc.LateSubmissionPlugin.penalty_method = "zero"\n')
    url = f"sqlite:///{course / 'gradebook.db'}"
    with Gradebook(url, "dlcourse") as gradebook:
        gradebook.update_or_create_assignment(CHAPTER, duedate="2026-03-01 10:00:00")
    grade()
    with Gradebook(url, "dlcourse") as gradebook:
        submission = gradebook.find_submission(CHAPTER, "ann")
        assert (submission.score, submission.total_seconds_late) == (7.0, 86400.0)
        assert submission.late_submission_penalty == 7.0
        gradebook.find_grade("mini-root", "mini", CHAPTER, "ann").manual_score = 1.0
        gradebook.db.commit()
    assert [e.state for e in grade().entries] == ["graded"]
    with Gradebook(url, "dlcourse") as gradebook:
        grade_ = gradebook.find_grade("mini-root", "mini", CHAPTER, "ann")
        assert (grade_.auto_score, grade_.manual_score, grade_.needs_manual_grade) == (3.0, 1.0, True)
    assert "A grader gave 1 points by hand" in (course / "feedback" / "ann" / CHAPTER / "mini.html").read_text()
    with Gradebook(url, "dlcourse") as gradebook:
        gradebook.update_or_create_assignment(CHAPTER, duedate="2026-03-03 10:00:00")
    assert [e.state for e in grade().entries] == ["graded"]
    assert [e.state for e in grade().entries] == ["unchanged"]
    assert "late" not in (course / "feedback" / "ann" / CHAPTER / "mini.html").read_text().partition("<body>")[2]


def test_a_new_notebook_does_not_keep_the_time_of_the_old_one(course, grade):
    from nbgrader.api import Gradebook

    def recorded_time():
        with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "dlcourse") as gradebook:
            return gradebook.find_submission(CHAPTER, "ann").timestamp

    timestamp = course / "submitted" / "ann" / CHAPTER / "timestamp.txt"
    hand_in(course, "ann", {})
    timestamp.write_text("2026-03-02 10:00:00 UTC")
    grade()
    assert recorded_time() == datetime(2026, 3, 2, 10)
    hand_in(course, "ann", RIGHT)
    timestamp.unlink()
    grade()
    assert recorded_time() is None
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "dlcourse") as gradebook:  # what an instructor has set stays
        gradebook.find_submission(CHAPTER, "ann").timestamp = datetime(2026, 3, 5)
        gradebook.db.commit()
    grade(force=True)
    assert recorded_time() == datetime(2026, 3, 5)


def test_a_course_may_lie_in_a_folder_with_brackets(course, bench, monkeypatch):
    root = course.rename(course.parent / "course [2026] *")
    monkeypatch.chdir(root)
    monkeypatch.setitem(worker._benches, (os.getpid(), "none"), bench)
    hand_in(root, "ann", RIGHT)
    batch = grade_course(Settings(root), list(chapters(root).values()), Options(sandbox="none", make=lambda n: Here()))
    assert [e.student for e in batch.entries] == ["ann"]


@pytest.mark.parametrize(
    "text", ["", "x", "1" * 5000, "9999-99-99", "00", "1e400", "2026-01-01 00:00:00 Nowhere/Else", "\x00", "1201-01-01", "12:61"]
)
def test_a_time_that_is_none_is_ignored(tmp_path, text):
    (tmp_path / "timestamp.txt").write_text(text)
    found, strange = handed_in(tmp_path)
    assert found is None or found.year >= 2000
    assert strange or found


def test_times_are_read_as_nbgrader_reads_them(tmp_path):
    assert parse_time("2026-03-02 10:00:00 UTC") == datetime(2026, 3, 2, 10)
    assert parse_time("2026-03-02T10:00:00+02:00") == datetime(2026, 3, 2, 8)
    (tmp_path / "timestamp.txt").write_text("2190-01-01 00:00:00 UTC")
    assert "future" in handed_in(tmp_path)[1]
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "timestamp.txt").symlink_to(tmp_path / "timestamp.txt")
    assert handed_in(tmp_path / "x")[0] is None


@pytest.mark.parametrize("name", ["漢" * 84, "=HYPERLINK(1)", "-rf", b"M\xfcller", "a\x1b[2J", "a\u202eb"])
def test_a_folder_that_no_student_can_be_called_is_told_and_skipped(course, grade, name):
    hand_in(course, "ann", RIGHT)
    (course / "submitted" / os.fsdecode(name) / CHAPTER).mkdir(parents=True)
    for _ in range(2):
        batch = grade()
        assert [e.student for e in batch.entries] == ["ann"]
        told = summary.as_json(batch)["warnings"]
        assert len(told) == 1
        assert told[0].isprintable()
        assert "is skipped" in told[0]
    assert of(course, "ann") == FULL
    assert sorted(p.name for p in (course / "feedback").iterdir()) == ["ann"]


def test_results_that_cannot_be_written_cost_their_student_only(course, grade):
    for student in ("ann", "bob"):
        hand_in(course, student, RIGHT)
    (course / "feedback").mkdir()
    (course / "feedback" / "ann").write_text("a file")
    batch = grade()
    assert [e.state for e in batch.entries] == ["failed", "graded"]
    assert "cannot be written" in batch.entries[0].why
    (course / "feedback" / "ann").unlink()
    assert [e.state for e in grade().entries] == ["graded", "unchanged"]


def test_a_graded_notebook_that_cannot_be_written_costs_its_student_only(course, grade):
    for student in ("ann", "bob"):
        hand_in(course, student, RIGHT)
    grade()
    before = of(course, "ann")
    result = course / "autograded" / "ann" / CHAPTER / "mini.ipynb"
    result.unlink()
    result.mkdir()
    batch = grade(force=True)
    assert [e.state for e in batch.entries] == ["failed", "graded"]
    assert "cannot be written" in batch.entries[0].why
    assert of(course, "ann") == before


def test_a_gradebook_that_another_program_holds_is_told(course, grade, monkeypatch):
    hand_in(course, "ann", RIGHT)

    def held(*args):
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "_grade", held)
        batch = grade()
    assert [e.state for e in batch.entries] == ["failed"]
    assert "database is locked" in batch.entries[0].why
    assert [e.state for e in grade().entries] == ["graded"]


def test_what_is_told_takes_one_line_each():
    batch = module.Batch(warnings=["x: \x1b[2J\x1b]0;owned\x07\n200 graded, all fine \ud800\u202e"])
    shown = io.StringIO()
    summary.show(batch, Console(file=shown, width=200))
    assert shown.getvalue().count("\n") == 1
    assert shown.getvalue().strip().isprintable()
    assert summary.as_json(batch)["warnings"][0].isprintable()


def test_a_name_too_long_for_a_record_starts_nothing(tmp_path):
    (tmp_path / "submitted" / ("漢" * 84) / CHAPTER).mkdir(parents=True)
    assert start_if_needed(tmp_path, "none", 1, False) is None


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs to give up what lets root read everything")
def test_a_time_that_nobody_may_read_is_told(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; "
    program += "from autograder.grading.timestamps import handed_in; print(handed_in(Path('closed')), handed_in(Path('none')))"
    bound = "-dac_override,-dac_read_search"
    command = ["setpriv", "--bounding-set", bound, "--inh-caps", bound, sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    told = "timestamp.txt was ignored: The file timestamp.txt cannot be read (Permission denied)."
    assert done.stdout.strip() == f"(None, {told!r}) (None, '')", done.stderr


def test_a_folder_that_nobody_may_open_is_told(course, grade, monkeypatch):
    hand_in(course, "ann", RIGHT)
    (course / "submitted" / "bob").mkdir()
    monkeypatch.setattr(module.os, "access", lambda path, mode: path.name != "bob")
    batch = grade()
    assert [e.student for e in batch.entries] == ["ann"]
    assert batch.warnings == ["submitted/bob is skipped: it cannot be opened (check its permissions)."]


def test_two_runs_at_once_are_refused(course, grade):
    hand_in(course, "ann", RIGHT)
    with module._alone(Settings(course)), pytest.raises(CourseError, match="Another"):
        grade()


def _work(n):
    if n == 3:
        os._exit(1)
    time.sleep(0.05)
    if n == 5:
        raise ValueError("five")
    return n * n


def test_a_dying_worker_loses_no_job():
    results = dict(run_jobs(range(8), _work, 2, ProcessPoolExecutor))
    assert {k: v for k, v in results.items() if k not in (3, 5)} == {n: n * n for n in range(8) if n not in (3, 5)}
    assert isinstance(results[3], RuntimeError)
    assert isinstance(results[5], ValueError)
