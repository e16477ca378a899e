"""nbgrader's own commands on the same course: ours in the place of Execute, and the same scores as stock."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from course import CHAPTER, ENVIRONMENT, RIGHT, SQUARE, dlcourse, hand_in, notebook, recorded


def nbgrader(root, *arguments, **environment):
    command = [sys.executable, "-m", "nbgrader", *arguments]
    return subprocess.run(
        command,
        cwd=root,
        env={**ENVIRONMENT, "DLCOURSE_SANDBOX": "none", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def three_ways(built, tmp_path_factory):
    """Honest submissions graded by stock nbgrader, by nbgrader with our judge, and by dlcourse; hostile ones by the latter two."""
    roots = {}
    for way in ("stock", "ours", "dlcourse"):
        root = roots[way] = shutil.copytree(built, tmp_path_factory.mktemp(way) / "course")
        hand_in(root, "right", RIGHT)
        hand_in(root, "half", {"mini.double": RIGHT["mini.double"], "mini.quiz": 'answers = {"mini.q01": "b"}'})
        hand_in(root, "mistakes", {"mini.double": SQUARE, "mini.root": "def root(x):\n    return np.sqrt(x)\n"})
        hand_in(root, "empty", {})
        hand_in(root, "typo", RIGHT | {"mini.double": "def double(x:"})
        if way != "stock":
            be_hostile(root)
    nbgrader(roots["stock"], "autograde", CHAPTER, DLCOURSE_EXECUTE="stock")
    roots["said"] = nbgrader(roots["ours"], "autograde", CHAPTER)
    done = dlcourse(roots["dlcourse"], "grade", "--sandbox", "none", "--workers", "2")
    assert done.returncode == 0, done.stderr
    return roots


HOSTILE = ("a-damaged", "b-binary", "c-metadata", "d-pipe", "e-large")


def be_hostile(root):
    """Submissions on which stock nbgrader stops, or is taken in."""
    hand_in(root, "a-damaged", b'{"cells": [')
    hand_in(root, "b-binary", bytes(range(256)))
    work = notebook(root, RIGHT)
    for cell in work["cells"]:
        cell["metadata"]["nbgrader"] = {**cell["metadata"].get("nbgrader", {}), "schema_version": 99, "points": 50}
    work["cells"] += [{"cell_type": "code", "metadata": {"nbgrader": {}}, "source": "", "outputs": []}, *work["cells"]]
    work["metadata"]["kernelspec"] = {"name": "evil", "display_name": []}
    path = hand_in(root, "c-metadata", work)
    (path.parent / "timestamp.txt").write_text("no time at all")
    (path.parent / "numpy.py").write_text("raise SystemExit")
    (path.parent / "link").symlink_to("/etc/passwd")
    (path.parent / "deeper").mkdir()
    (path.parent / "deeper" / "timestamp.txt").write_text("2026-01-01 00:00:00 UTC")
    os.mkfifo(hand_in(root, "d-pipe", RIGHT).parent / "timestamp.txt")
    (hand_in(root, "e-large", RIGHT).parent / "timestamp.txt").write_text("2026-01-01" + " " * 1_000_000)


HONEST = ("right", "half", "mistakes", "empty", "typo")


def test_honest_scores_are_equal_three_ways_cell_by_cell(three_ways):
    scores = {way: recorded(three_ways[way]) for way in ("stock", "ours", "dlcourse")}
    honest = {way: {k: v for k, v in found.items() if k[0] in HONEST} for way, found in scores.items()}
    assert honest["stock"] == honest["ours"] == honest["dlcourse"]
    assert sum(v for (who, _), v in honest["ours"].items() if who == "right") == 7.0
    assert len(honest["stock"]) == 3 * len(HONEST)


def test_hostile_submissions_do_not_stop_nbgraders_batch(three_ways):
    assert three_ways["said"].returncode == 0, three_ways["said"].stderr[-3000:]
    ours, direct = recorded(three_ways["ours"]), recorded(three_ways["dlcourse"])
    assert ours == direct
    assert {who: sum(v for (w, _), v in ours.items() if w == who) for who in HOSTILE} == {
        "a-damaged": 0.0,
        "b-binary": 0.0,
        "c-metadata": 7.0,
        "d-pipe": 7.0,
        "e-large": 7.0,
    }
    assert not (three_ways["ours"] / "autograded" / "e-large" / CHAPTER / "timestamp.txt").exists()
    copied = {p.name for p in (three_ways["ours"] / "autograded" / "c-metadata" / CHAPTER).iterdir()}
    assert not copied & {"numpy.py", "link", "deeper"}


def test_the_graded_notebooks_are_the_same_and_valid(three_ways):
    import nbformat

    shown = []
    for way in ("ours", "dlcourse"):
        path = three_ways[way] / "autograded" / "mistakes" / CHAPTER / "mini.ipynb"
        nbformat.validate(nbformat.read(path, as_version=4))
        shown.append([(c["source"], c.get("outputs")) for c in json.loads(path.read_text())["cells"]])
    joined = [[("".join(s), json.dumps(o).count("This is the square.")) for s, o in cells] for cells in shown]
    assert joined[0] == joined[1]


def test_nbgraders_feedback_and_export_work_and_hide_the_tests(three_ways):
    for way in ("ours", "stock"):
        root = three_ways[way]
        done = nbgrader(root, "generate_feedback", CHAPTER, DLCOURSE_EXECUTE="stock" if way == "stock" else "")
        assert done.returncode == 0, done.stderr
        for who in ("mistakes", "typo"):
            page = (root / "feedback" / who / CHAPTER / "mini.html").read_text()
            assert "This is the square." in page or who == "typo"
            text = re.sub(r"<[^>]+>", "", page)  # highlighting puts tags between words
            assert not [word for word in ("HIDDEN TESTS", "autograder.live", 'grade("mini', "np.sqrt(np.abs") if word in text]
    exported = nbgrader(three_ways["ours"], "export", "--to", "grades.csv")
    assert exported.returncode == 0
    rows = [line.split(",") for line in (three_ways["ours"] / "grades.csv").read_text().splitlines()]
    assert {row[3]: row[-2] for row in rows[1:]}["right"] == "7.0"


def test_dlcourse_takes_over_a_course_that_nbgrader_graded(three_ways, tmp_path):
    root = shutil.copytree(three_ways["ours"], tmp_path / "course", ignore=shutil.ignore_patterns("?-*"))
    done = dlcourse(root, "grade", "mini", "--sandbox", "none", "--json", "--student", "right")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["submissions"][0]["points"] == 7.0
    assert recorded(root) == recorded(three_ways["ours"])
