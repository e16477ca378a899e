"""The verdicts on one submission: every graded cell has one, whatever was handed in."""

import json

import pytest
from course import RIGHT, SQUARE, notebook

from autograder.grading.feedback import feedback_page
from autograder.grading.gradebook import Record
from autograder.grading.judging import graded_notebook, judge_submission, literal_answers
from autograder.grading.submission import Submission, take


@pytest.fixture
def judged(blueprint, bench, built):
    def run(solutions, change=lambda cells: cells):
        submission = take(change(notebook(built, solutions)["cells"]), blueprint.solution_ids)
        return submission, judge_submission(blueprint, submission, bench)

    return run


def points(graded):
    return [(c.verdict.points, c.verdict.status) for c in graded.cells]


def test_a_right_submission_gets_all_points_and_no_demo_cell_is_run(judged):
    assert points(judged(RIGHT)[1]) == [(2, "passed"), (3, "passed"), (2, "passed")]


def test_an_untouched_submission_is_not_attempted(judged):
    assert points(judged({})[1]) == [(0, "not attempted")] * 3


def test_a_syntax_error_costs_its_own_points_only(judged):
    _, graded = judged(RIGHT | {"mini.double": "def double(x:\n    return"})
    assert points(graded) == [(0, "error"), (3, "passed"), (2, "passed")]
    assert "SyntaxError" in graded.cells[0].verdict.message


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("import os\nos._exit(0)", "died"),
        ("def double(x):\n    import os\n    os._exit(0)", "died"),
        ("raise SystemExit(0)", "error"),
        ("def double(x):\n    while True:\n        pass", "time"),
        ("double = 3", "error"),
        ("x = " + "-" * 15_000 + "1", "error"),
        ("a" + ".b" * 9_000, "error"),
        ("# " + "x" * 300_000, "not run"),
        ("x = '\x00'", "error"),
        ("get_ipython().kernel.do_shutdown(False)", "error"),
    ],
)
def test_one_bad_cell_costs_its_own_points_only(judged, source, status):
    _, graded = judged(RIGHT | {"mini.double": source})
    assert points(graded) == [(0, status), (3, "passed"), (2, "passed")]
    assert not graded.failures


def test_a_deleted_cell_is_not_attempted_and_said_to_be_missing(judged):
    _, graded = judged(RIGHT, lambda cells: [c for c in cells if c["metadata"].get("nbgrader", {}).get("grade_id") != "mini-root-solution"])
    assert points(graded) == [(2, "passed"), (0, "not attempted"), (2, "passed")]
    assert "missing" in graded.cells[1].verdict.message


def test_a_copied_cell_and_changed_metadata_decide_nothing(judged):
    def copied(cells):
        spoiled = json.loads(json.dumps(cells))
        for c in spoiled:
            grader = c["metadata"].get("nbgrader", {})
            grader.update(points=1000, grade=True, locked=False, schema_version=99)
            c["metadata"]["tags"] = ["skip-execution"]
        return spoiled[::-1] + spoiled

    _, graded = judged(RIGHT, copied)
    assert points(graded) == [(2, "passed"), (3, "passed"), (2, "passed")]
    assert all("2 times" in c.verdict.notes[0] for c in graded.cells)


def test_a_submission_without_cells_has_an_outcome_for_each(blueprint, bench):
    graded = judge_submission(blueprint, Submission(problem="It is damaged."), bench)
    assert points(graded) == [(0, "not run")] * 3
    assert {c.verdict.message for c in graded.cells} == {"It is damaged."}


def test_an_answer_sheet_may_be_computed(judged):
    assert points(judged({"mini.quiz": "answers = {f'mini.q0{i}': c for i, c in [(1, 'B'), (2, '(a)')]}"})[1])[2] == (2, "passed")
    assert points(judged({"mini.quiz": "answers = [1, 2]"})[1])[2] == (0, "not attempted")
    assert points(judged({"mini.quiz": "1 / 0"})[1])[2] == (0, "error")


@pytest.mark.parametrize("text", ["", "answers = 1", "answers = {}\nimport os", "answers = {'a': f()}", "b = {}", "answers = {[]: 1}"])
def test_only_a_written_out_answer_sheet_is_read_as_text(text):
    assert literal_answers(text) is None


def test_the_graded_notebook_is_the_instructors_with_verdicts(judged, blueprint):
    submission, graded = judged(RIGHT | {"mini.double": "print('hello')\n" + SQUARE, "mini.root": ""})
    cells = {c["metadata"].get("nbgrader", {}).get("grade_id"): c for c in graded_notebook(blueprint, submission, graded)["cells"]}
    assert cells["mini-double-solution"]["outputs"][0]["text"] == "hello\n"
    assert cells["mini-double"]["outputs"][0]["data"]["text/plain"] == "0.0"
    assert "This is the square." in cells["mini-double"]["outputs"][0]["data"]["text/html"]
    assert cells["mini-quiz"]["outputs"][0]["data"]["text/plain"] == "2.0"
    assert "grade(" in cells["mini-double"]["source"]


def test_what_is_missing_does_not_show_the_instructors_solution(judged, blueprint):
    submission, graded = judged(
        {}, lambda cells: [c for c in cells if "solution" not in str(c["metadata"]) or "double" in str(c["metadata"])]
    )
    assert "np.sqrt(np.abs(x))" not in json.dumps(graded_notebook(blueprint, submission, graded))


def test_the_page_holds_no_script_and_nothing_hidden(judged, blueprint):
    code = "print('<script>alert(1)</script>')\n" + SQUARE
    page = feedback_page("<b>eve</b>", blueprint.chapter, judged({"mini.double": code})[1], notes=["<i>note</i>"])
    assert "<script" not in page
    assert "<b>eve" not in page
    assert "&lt;b&gt;eve" in page
    assert "&lt;i&gt;note" in page
    assert not any(word in page for word in ("http://", "https://", "BEGIN HIDDEN", "yes-secret"))


def test_the_page_says_what_graders_and_lateness_changed(judged, blueprint):
    record = Record(6.5, 7.0, 7300.0, 1.5, None, {"mini-root": 2.5}, {"mini-root-solution": "Nice idea <3"})
    page = feedback_page("ann", blueprint.chapter, judged(RIGHT)[1], record)
    assert "5 <small>of 7 points" in page
    assert "2 hours late: 1.5 points are taken off 6.5" in page
    assert "Nice idea &lt;3" in page
    assert "A grader gave 2.5 points by hand" in page
