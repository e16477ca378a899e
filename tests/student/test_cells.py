"""Cells run as a notebook runs them."""

import sys

import pytest

from autograder.student.cells import Cells
from autograder.student.limits import Limits
from autograder.student.outcome import CellOutcome


def run(source: str, **limits: int) -> CellOutcome:
    """The outcome of one cell."""
    return Cells(Limits(**limits)).run(source, "<exercise test.x>")


def test_a_cell_prints_displays_and_defines() -> None:
    cells = Cells()
    outcome = cells.run("import sys\nprint('a')\nprint('b', file=sys.stderr)\nx = 3\nx + 1", "<exercise test.x>")
    assert (outcome.status, outcome.stdout, outcome.stderr) == ("ok", "a\n", "b\n")
    assert outcome.outputs == ({"text/plain": "4"},)
    assert cells.names["x"] == 3


def test_a_semicolon_keeps_quiet() -> None:
    assert run("3;").outputs == ()


@pytest.mark.parametrize(
    "line",
    ["%matplotlib inline", "%load_ext autoreload", "%autoreload 2", "%config InlineBackend.figure_format = 'retina'", "%precision 3"],
)
def test_harmless_magics_do_nothing(line: str) -> None:
    outcome = run(f"{line}\nx = 1\nx")
    assert outcome.status == "ok"
    assert outcome.notes == ()
    assert outcome.outputs == ({"text/plain": "1"},)


@pytest.mark.parametrize("cell", ["%%time\nx = 2", "%time x = 2", "%timeit -n 1 -r3 x = 2", "%%timeit -n 3\nx = 2", "%%capture out\nx = 2"])
def test_timed_code_runs(cell: str) -> None:
    cells = Cells()
    assert cells.run(cell, "<exercise test.x>").status == "ok"
    assert cells.names["x"] == 2


@pytest.mark.parametrize("line", ["!rm -rf /", "files = !ls", "%run other.py", "%pip install torch", "%env A=1", "%cd /"])
def test_other_magics_and_shell_lines_are_skipped_and_said(line: str) -> None:
    cells = Cells()
    outcome = cells.run(f"{line}\nx = 5", "<exercise test.x>")
    assert outcome.status == "ok"
    assert "skipped" in outcome.notes[0]
    assert cells.names["x"] == 5


def test_top_level_await_works() -> None:
    assert run("import asyncio\nasync def f(): return 7\nawait f()").outputs == ({"text/plain": "7"},)


def test_an_error_shows_the_learners_lines() -> None:
    outcome = run("import json\ndef f(x):\n    return json.loads(x)\nf('{')")
    assert outcome.status == "error"
    assert outcome.error == "JSONDecodeError"
    assert outcome.where == ("line 4, in <module>: f('{')", "line 3, in f: return json.loads(x)")


def test_a_syntax_error_shows_its_line() -> None:
    outcome = run("x = 1\ny = = 2")
    assert outcome.error == "SyntaxError"
    assert outcome.where == ("line 2: y = = 2",)


@pytest.mark.parametrize("source", ["exit()", "quit()", "import sys; sys.exit(3)", "raise KeyboardInterrupt", "raise BaseException('x')"])
def test_nothing_ends_more_than_the_cell(source: str) -> None:
    assert run(source).status == "error"


def test_input_says_that_nobody_types() -> None:
    assert "nobody" in run("input('name?')").message


def test_output_is_limited() -> None:
    outcome = run("print('x' * 10**6)\nprint('y')", output=1000)
    assert len(outcome.stdout) < 1100
    assert "more characters" in outcome.stdout


def test_displays_are_limited_in_size_and_number() -> None:
    outcome = run("for i in range(60): display('x' * 100)\n'y' * 10**6".replace("display", "get_ipython; print"), display=10_000)
    assert outcome.outputs == ()
    assert "too large" in outcome.notes[0]


def test_a_figure_is_kept_as_a_picture_and_closed() -> None:
    outcome = run("import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    assert outcome.outputs[0]["image/png"].startswith("iVBOR")
    assert not sys.modules["matplotlib.pyplot"].get_fignums()


def test_rich_values_are_kept_by_mime_type() -> None:
    outcome = run("class A:\n    def _repr_html_(self): return '<b>a</b>'\nA()")
    assert outcome.outputs[0]["text/html"] == "<b>a</b>"


def test_a_failing_repr_does_no_harm() -> None:
    outcome = run("class A:\n    def __repr__(self): raise ValueError\nA()")
    assert outcome.status == "ok"
    assert "raised ValueError" in outcome.outputs[0]["text/plain"]


def test_the_cell_is_main_and_dataclasses_and_pickle_work() -> None:
    source = "import pickle\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int' = 1\n"
    source += "pickle.loads(pickle.dumps(A())), __name__"
    assert run(source).outputs == ({"text/plain": "(A(x=1), '__main__')"},)


def test_output_and_main_are_given_back() -> None:
    before = sys.stdout, sys.modules["__main__"]
    run("import sys\nsys.stdout = None\n1 / 0")
    assert (sys.stdout, sys.modules["__main__"]) == before


def test_too_much_memory_is_told_apart() -> None:
    assert run("raise MemoryError").status == "memory"
    assert run('raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried")').status == "memory"


def test_a_cell_finds_what_every_notebook_has():
    cells = Cells()
    outcome = cells.run(
        "display(1)\nimport sys\nassert sys.stdout.encoding == 'utf-8'\nassert (_, In, Out) == ('', [''], {})", "<exercise a.b>"
    )
    assert outcome.status == "ok", outcome.message
    assert outcome.outputs[0]["text/plain"] == "1"
    assert not {"display", "In", "Out", "_"} & cells.names.keys()
