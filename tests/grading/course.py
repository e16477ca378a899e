"""A course of one small chapter, built once and copied for each test."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = "01-mini"
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
}

TEXT = '''
# %% [markdown]
# # 1 · Mini
#
# A chapter for tests.

# %% setup=true
import numpy as np

# %% exercise="mini.double" points=2
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% check="mini.double"
assert double(2) == 4, "double(2) is 4"

# %%
raise RuntimeError("a demo cell: never run when grading")

# %% exercise="mini.root" points=3
def root(x):
    """Square root of |x|."""
    ### BEGIN SOLUTION
    return np.sqrt(np.abs(x))
    ### END SOLUTION

# %% check="mini.root"
assert root(4.0) == 2, "root(4) is 2"

# %% quiz=true
'''
ANSWERS = """
import numpy as np
from autograder.authoring import arrays, call, exercise, right, st, trap


@exercise("mini.double", names="double", covers=["mini.a"], seconds=2)
class Double:
    def reference(x):
        return 2 * x

    cases = {"numbers": [call(3.0), call(0.5)], "arrays": call(arrays((3,)))}

    @trap("This is the square.")
    def square(x):
        return x * x


@exercise("mini.root", names="root", covers=["mini.a"], seconds=2)
class Root:
    def reference(x):
        return np.sqrt(np.abs(x))

    cases = {"values": call(arrays((3,), 0, 9)), "negative": [call(np.array([-4.0, 1.0]))]}

    @trap("The root of a negative number: take |x|.")
    def no_abs(x):
        return np.sqrt(x)
"""
QUIZ = """
- {id: mini.q01, covers: [mini.a], stem: "One?", options: ["no", "yes"], answer: 1, why: ["no-secret", "yes-secret"], trap_option: 0}
- {id: mini.q02, covers: [mini.a], stem: "Two?", options: ["yes", "no"], answer: 0, why: ["fine", "not fine"]}
"""
RIGHT = {
    "mini.double": "def double(x):\n    return x + x\n",
    "mini.root": "def root(x):\n    return abs(x) ** 0.5\n",
    "mini.quiz": 'answers = {"mini.q01": "b", "mini.q02": "a"}\n',
}
SQUARE = "def double(x):\n    return x * x\n"


def write_chapter(root: Path) -> None:
    """The folder of the chapter, and the course's configuration."""
    folder = root / "chapters" / CHAPTER
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "nbgrader_config.py", root)
    for name, text in {
        "mini.py": TEXT,
        "answers.py": ANSWERS,
        "quiz.yaml": QUIZ,
        "objectives.yaml": "- {id: mini.a, kind: fact, says: a}\n",
    }.items():
        (folder / name).write_text(text.lstrip())


def notebook(root: Path, solutions: dict[str, str]) -> dict:
    """The class edition with some solutions."""
    from autograder.chapter import Chapter
    from autograder.grading.samples import fill_in

    return fill_in(root, Chapter(root / "chapters" / CHAPTER), solutions)


def hand_in(root: Path, student: str, work: dict | bytes) -> Path:
    """Put a notebook (or any bytes) where nbgrader expects it."""
    path = root / "submitted" / student / CHAPTER / "mini.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(work, bytes):
        path.write_bytes(work)
    else:
        whole = work if "cells" in work else notebook(root, work)
        path.write_text(json.dumps(whole))
    return path


def dlcourse(root: Path, *arguments: str, **more) -> subprocess.CompletedProcess:
    """Run the command line in a course."""
    command = [str(Path(sys.executable).parent / "dlcourse"), *arguments]
    return subprocess.run(command, cwd=root, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False, **more)


def recorded(root: Path) -> dict[tuple[str, str], float | None]:
    """(student, cell) → the autograder's score in the gradebook."""
    import sqlite3

    query = """select a.student_id, c.name, g.auto_score from grade g join submitted_notebook n on g.notebook_id = n.id
               join submitted_assignment a on n.assignment_id = a.id join base_cell c on c.id = g.cell_id"""
    with sqlite3.connect(root / "gradebook.db") as db:
        return {(student, cell): score for student, cell, score in db.execute(query)}
