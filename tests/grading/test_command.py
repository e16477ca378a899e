"""`dlcourse grade`, `check` and `doctor` as people call them; and a run that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from course import CHAPTER, ENVIRONMENT, RIGHT, SQUARE, dlcourse, hand_in, notebook, recorded

SLOW = RIGHT | {"mini.root": "import time\ntime.sleep(1.2)\n" + RIGHT["mini.root"]}


def start(root, *arguments):
    command = [str(Path(sys.executable).parent / "dlcourse"), "grade", "--sandbox", "none", *arguments]
    return subprocess.Popen(command, cwd=root, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_a_record(root, process):
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        if list((root / ".build" / "grading" / CHAPTER).glob("*.json")):
            return
        time.sleep(0.05)
    pytest.fail(f"no submission was graded: {process.communicate(timeout=10)}")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_goes_on_where_it_was(course, how):
    for n in range(6):
        hand_in(course, f"s{n}", SLOW)
    process = start(course, "--workers", "1")
    wait_for_a_record(course, process)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    done = set((course / ".build" / "grading" / CHAPTER).glob("*.json"))
    assert 0 < len(done) < 6
    if how == signal.SIGINT:
        assert process.returncode == 1, err
        assert "run the same command again" in out
    again = dlcourse(course, "grade", "--sandbox", "none", "--json")
    states = [s["state"] for s in json.loads(again.stdout)["submissions"]]
    assert states.count("unchanged") >= len(done)
    assert states.count("graded") == 6 - states.count("unchanged")
    scores = recorded(course)
    assert len(scores) == 18
    assert set(scores.values()) == {2.0, 3.0}


def test_grade_from_a_zip_locked_in_and_told_in_tables(course, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        archive.writestr("ann_1_2_mini.ipynb", json.dumps(notebook(course, RIGHT)))
        archive.writestr("bob_3_4_mini.ipynb", json.dumps(notebook(course, {"mini.double": SQUARE})))
        archive.writestr("../up.ipynb", "{}")
    done = dlcourse(course, "grade", "1", "--from", str(tmp_path / "class.zip"), "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "2 new" in done.stderr
    for text in ("ann_1", "bob_3", "mini.double", "This is the square.", "leads out of the zip", "2 graded"):
        assert text in done.stdout
    assert recorded(course)["ann_1", "mini-root"] == 3.0


def test_nothing_to_grade_and_unknown_names_are_said(course):
    for arguments, says in (
        (["grade"], "nothing to grade"),
        (["grade", "mini"], "nothing to grade for 01-mini"),
        (["grade", "nope"], "no chapter 'nope'"),
        (["grade", "1", "--student", "x"], "'x' has handed in"),
    ):
        done = dlcourse(course, *arguments)
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to run as")
def test_read_only_folders_are_said(course):
    hand_in(course, "ann", RIGHT)
    (course / "autograded").mkdir()
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from autograder.grading.settings import writable
os.setgid(65534), os.setuid(65534)
writable(Path({str(course / "autograded")!r}))"""
    for folder in (p for p in (course, *course.parents) if "pytest" in str(p)):
        folder.chmod(0o755)  # so that only the last folder stops another user
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "read-only" in done.stderr


def test_check_grades_either_edition_and_writes_one_page(course, tmp_path):
    release = tmp_path / "mine.ipynb"
    release.write_text(json.dumps(notebook(course, RIGHT | {"mini.double": "def double(x):\n    while True: pass"})))
    done = dlcourse(course, "check", str(release))
    assert done.returncode == 1, done.stderr
    assert "Out of time: mini.double" in done.stdout
    assert "5 of 7 points" in done.stdout
    page = (tmp_path / "mine.feedback.html").read_text()
    assert "Out of time" in page
    assert "http" not in page.replace("http-equiv", "")
    own = json.loads((course / "notebooks" / f"{CHAPTER}.ipynb").read_text())
    for cell in own["cells"]:
        exercise = cell["id"].removesuffix("-solution").replace("-", ".")
        cell["source"] = RIGHT.get(exercise, cell["source"]) if cell["id"].endswith("-solution") else cell["source"]
    (tmp_path / "own.ipynb").write_text(json.dumps(own))
    done = dlcourse(course, "check", str(tmp_path / "own.ipynb"), "--json", "-o", str(tmp_path / "page.html"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["points"] == 7.0
    assert (tmp_path / "page.html").exists()
    assert not (course / "gradebook.db").stat().st_mtime > (tmp_path / "mine.ipynb").stat().st_mtime


@pytest.mark.parametrize(("content", "says"), [("{", "damaged"), ('{"cells": [], "nbformat": 4}', "no exercise cell of this course")])
def test_check_says_what_is_wrong_with_a_file(course, tmp_path, content, says):
    (tmp_path / "x.ipynb").write_text(content)
    done = dlcourse(course, "check", str(tmp_path / "x.ipynb"))
    assert done.returncode == 2
    assert says in done.stderr


def test_doctor_finds_what_is_missing(monkeypatch, tmp_path):
    from autograder import doctor

    (tmp_path / "pyproject.toml").write_text(
        '[project]\nrequires-python = ">=3.99"\ndependencies = ["numpy>=99", "no-such-thing", "click"]\n'
    )
    assert not next(doctor.python(tmp_path)).good
    packages = next(doctor.packages(tmp_path))
    assert "numpy" in packages.found
    assert "no-such-thing is not installed" in packages.found
    assert "click" not in packages.found
    monkeypatch.setenv("PATH", str(tmp_path))
    alembic = next(doctor.path(tmp_path))
    assert not alembic.good
    assert "PATH" in alembic.mend
    assert doctor.ready([alembic])


def test_the_samples_of_a_chapter_deserve_what_is_written_down(root, bench, tmp_path):
    from autograder.course import chapters
    from autograder.grading.demo import samples
    from autograder.grading.judging import judge_submission
    from autograder.grading.submission import read_submission
    from autograder.grading.worker import blueprint_of

    blueprint = blueprint_of(root, "04-activations")
    for sample in samples(root, chapters(root)["04-activations"]):
        path = tmp_path / f"{sample.student}.ipynb"
        path.write_text(sample.text)
        graded = judge_submission(blueprint, read_submission(path, blueprint.solution_ids), bench)
        assert {c.slot.exercise: c.verdict.points for c in graded.cells} == sample.points
        assert {c.slot.exercise: c.verdict.trap for c in graded.cells if c.slot.exercise in sample.traps} == sample.traps
