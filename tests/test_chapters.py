"""What every chapter must keep. A new folder under chapters/ gets these tests for free."""

import ast
import json
import linecache
import re
import warnings
from collections import Counter
from types import SimpleNamespace

import pytest
from support import CHAPTERS, ROOT, Inside, verdict_on

from autograder.build.notebook import self_study_notebook
from autograder.chapter import Chapter
from autograder.coverage import coverage_of
from autograder.judge import judge
from autograder.live import LiveStudent
from autograder.prepared import Prepared
from autograder.quiz import mark


def exercise_ids(chapter: Chapter) -> list[str]:
    """A chapter that cannot be read fails its own tests, not the collection of all."""
    try:
        return list(chapter.tasks)
    except Exception as error:
        return [f"unreadable: {error}"]


EXERCISES = [pytest.param(chapter, id, id=f"{chapter.name}-{id}") for chapter in CHAPTERS.values() for id in exercise_ids(chapter)]
each_exercise = pytest.mark.parametrize(("chapter", "id"), EXERCISES)


def solution_student(chapter: Chapter, id: str, source: str) -> LiveStudent:
    """The set-up cell and one exercise cell, run alone."""
    names = {"__name__": "__main__"}
    for text in (chapter.setup, source):
        file = f"<exercise {id} {hash(text)}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(compile(text, file, "exec"), names)
    return LiveStudent(names, chapter.exercises[id].names, chapter.exercises[id].seconds)


@each_exercise
def test_the_solution_alone_after_the_setup_cell_scores_full_and_is_silent(chapter, id, capfd):
    task = chapter.tasks[id]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        student = solution_student(chapter, id, task.solution)
    verdict = judge(chapter.prepared[id], student, points=task.points, source=task.solution, start=task.start)
    assert verdict.passed, verdict.as_json()
    assert capfd.readouterr().err == ""


@each_exercise
def test_the_visible_asserts_hold_for_the_solution_and_fail_for_the_start(chapter, id):
    task = chapter.tasks[id]
    assert 1 <= len([line for line in task.asserts.splitlines() if line.strip()]) <= 12, "1 to 12 lines of visible asserts"
    names = {}
    exec(chapter.setup, names)
    exec(task.solution, names)
    exec(task.asserts, names)
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever a stub or a broken program leads to
        exec(f"{chapter.setup}\n{task.start}\n{task.asserts}", {})


@each_exercise
def test_every_right_variant_scores_full(chapter, id):
    prepared = chapter.prepared[id]
    exercise = prepared.exercise
    assert len(exercise.rights) >= 2, f"{id} has {len(exercise.rights)} right variants besides its reference; it needs 2"
    for right in (*exercise.rights, *exercise.alternatives):
        verdict = verdict_on(prepared, right)
        assert verdict.passed, f"{right.id}: {verdict.as_json()}"


@each_exercise
def test_every_trap_is_rejected_and_told_by_name(chapter, id, monkeypatch):
    monkeypatch.setattr("autograder.cases.SHRINK_SECONDS", 0)  # the name of a mistake does not depend on the smallest input
    prepared = chapter.prepared[id]
    traps = prepared.exercise.traps
    assert len(traps) >= 3, f"{id} has {len(traps)} traps; it needs at least 3"
    told = {trap.id: verdict_on(prepared, trap) for trap in traps}
    texts = {t.id: t.text for t in traps}
    accepted = [name for name, v in told.items() if v.points == v.max_points]
    assert not accepted, f"accepted: {accepted}"
    confused = {name: v.trap for name, v in told.items() if texts.get(v.trap) != texts[name]}
    assert not confused, f"taken for another: {confused}"


@each_exercise
def test_a_group_is_worth_something_only_to_those_who_did_something(chapter, id, monkeypatch):
    monkeypatch.setattr("autograder.cases.SHRINK_SECONDS", 0)
    prepared = chapter.prepared[id]
    for what, implementation in idle_submissions(prepared).items():
        points = judge(prepared, Inside(implementation), points=4.0, source="ours = 1").points
        assert points == 0, f"a submission that {what} gets {points} of 4 points"


def idle_submissions(prepared: Prepared) -> dict[str, SimpleNamespace]:
    """Submissions that only look like something."""
    import numpy as np

    def first(*args, **kwargs):
        return args[0] if args else None

    def zeros(*args, **kwargs):
        return np.zeros_like(args[0]) if args and isinstance(args[0], np.ndarray) else 0.0

    functions = {"returns None": lambda *a, **k: None, "returns its input": first, "returns zeros": zeros}
    return {what: SimpleNamespace(**dict.fromkeys(prepared.exercise.names, f)) for what, f in functions.items()}


@each_exercise
def test_what_the_learner_starts_from_scores_nothing_in_any_group(chapter, id):
    task, prepared = chapter.tasks[id], chapter.prepared[id]
    untouched = judge(prepared, Inside(SimpleNamespace()), points=task.points, source=task.start, start=task.start)
    assert (untouched.points, untouched.status) == (0, "not attempted")
    broken = next((c.source for c in chapter.cells if c.kind == "broken" and c.id == id), None)
    if broken:
        verdict = judge(prepared, solution_student(chapter, id, broken), points=task.points, source=broken + "\nx = 1", start="")
        assert verdict.points == 0, f"the broken program passes {[name for name, ok in verdict.lamps if ok]}"


@each_exercise
def test_a_probe_takes_nothing_hidden_along(chapter, id):
    packed = b"".join(chapter.prepared[id].probes)
    for trap in chapter.exercises[id].traps:
        assert trap.text.encode() not in packed


@each_exercise
def test_the_card_of_the_text_says_id_difficulty_minutes_and_points(chapter, id):
    text = "\n".join(c.source for c in chapter.cells if c.kind == "markdown")
    points = f"{chapter.tasks[id].points:g}"
    wanted = rf"^### Exercise {re.escape(id)} · difficulty [1-5] of 5 · \d+ min · {re.escape(points)} points?$"
    assert re.search(wanted, text, re.M), f"no card like `### Exercise {id} · difficulty 2 of 5 · 10 min · {points} points`"


def test_every_objective_is_covered(chapter):
    coverage = coverage_of(chapter)
    assert coverage.complete, f"missing: {coverage.missing}, unknown: {coverage.unknown}"


def test_questions_are_fair(chapter):
    questions = chapter.questions
    assert len({q.id for q in questions}) == len(questions)
    positions = Counter(q.answer for q in questions)
    assert max(positions.values()) <= 0.45 * len(questions), f"right positions are not spread: {positions}"
    longest = [q.id for q in questions if len(q.options[q.answer]) > 1.25 * max(len(o) for i, o in enumerate(q.options) if i != q.answer)]
    assert len(longest) <= 0.2 * len(questions), f"the right option is much the longest in {longest}"
    assert all(m.right for m in mark(questions, {q.id: "abcdef"[q.answer].upper() for q in questions}))


def test_cells_are_short_and_demos_predict(chapter):
    demos = [c for c in chapter.cells if c.kind == "demo"]
    assert len({d.id for d in demos}) == len(demos)
    too_long = [d.id for d in demos if len([line for line in d.source.splitlines() if line.strip()]) > 15]
    assert not too_long, f"demos of more than 15 lines: {too_long}"
    assert sum("reveal(" in c.source for c in chapter.cells) >= 2, "at least two predict-before-you-run demos"
    assert "## Debug clinic" in "\n".join(c.source for c in chapter.cells)
    assert sum(e.is_test for e in chapter.exercises.values()) >= 1, "at least one write-the-test exercise"


@pytest.mark.parametrize("edition", ["release", "notebooks"])
def test_no_answer_stands_in_what_learners_get(chapter, edition):
    path = (
        ROOT / "release" / chapter.name / f"{chapter.slug}.ipynb" if edition == "release" else ROOT / "notebooks" / f"{chapter.name}.ipynb"
    )
    text = "\n".join("".join(c["source"]) for c in json.loads(path.read_text())["cells"])
    assert not [word for word in ("BEGIN SOLUTION", "HIDDEN TESTS", "answers.py") if word in text]
    hidden = [t.text for e in chapter.exercises.values() for t in e.traps] + [w for q in chapter.questions for w in q.why if len(w) > 40]
    assert not [h for h in hidden if h in text]
    for task in chapter.tasks.values():
        assert task.solution.strip() not in text, f"the solution of {task.id}"


def test_nbgrader_accepts_the_metadata(chapter):
    import nbformat
    from nbgrader.nbgraderformat import MetadataValidator

    for kind in ("source", "release"):
        notebook = nbformat.read(ROOT / kind / chapter.name / f"{chapter.slug}.ipynb", as_version=4)
        nbformat.validate(notebook)
        MetadataValidator().validate_nb(notebook)
        graded = {
            c.metadata.nbgrader.grade_id: c.metadata.nbgrader.points for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")
        }
        wanted = {id.replace(".", "-"): t.points for id, t in chapter.tasks.items()} | {
            f"{chapter.slug}-quiz": float(len(chapter.questions))
        }
        assert graded == wanted


@pytest.mark.parametrize("filled", [False, True], ids=["untouched", "solved"])
def test_the_notebook_runs_from_top_to_bottom(chapter, filled):
    notebook = self_study_notebook(chapter)
    if filled:
        solutions = {f"{id.replace('.', '-')}-solution": t.solution for id, t in chapter.tasks.items()}
        for cell in notebook.cells:
            cell.source = solutions.get(cell.id, cell.source)
    seconds, megabytes, cards = run_notebook(notebook)
    assert seconds < 30, f"{seconds:.0f} s"
    assert megabytes < 1500, f"{megabytes:.0f} MB"
    wanted = {f"{id.replace('.', '-')}": f"{t.points if filled else 0.0}" for id, t in chapter.tasks.items()}
    assert {id: cards[id] for id in wanted} == wanted


def run_notebook(notebook) -> tuple[float, float, dict[str, str]]:
    """Run it in a kernel; (processor seconds of the kernel, its peak MB, cell id → text of its result).

    Processor time, not the clock: the other worker of the test suite must not decide whether a chapter is quick.
    """
    import nbformat
    from nbclient import NotebookClient

    measure = "import resource; u = resource.getrusage(resource.RUSAGE_SELF); (u.ru_utime + u.ru_stime, u.ru_maxrss / 1024)"
    notebook.cells.append(nbformat.v4.new_code_cell(measure, id="measure"))
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    results = {
        c.id: o["data"].get("text/plain", "")
        for c in notebook.cells
        if c.cell_type == "code"
        for o in c.outputs
        if o.output_type == "execute_result"
    }
    seconds, megabytes = ast.literal_eval(results["measure"])
    return seconds, megabytes, results


def test_the_committed_editions_are_what_the_text_builds():
    from autograder.build import stale

    assert stale(ROOT, list(CHAPTERS.values())) == []
