"""Assemble a chapter's cells into the instructor edition and the self-study edition."""

from collections.abc import Callable, Iterator
from textwrap import dedent

from nbformat import NotebookNode, v4

from autograder.chapter import Cell, Chapter
from autograder.quiz import answer_sheet, as_markdown
from autograder.quiz_verdict import quiz_id

_RULES = dedent("""\
    > **How this notebook works.** Every exercise has a card (what to write), a cell with a gap, and a cell that {verdict}.
    > Replace `raise NotImplementedError()`; keep the names and arguments. An exercise
    > runs with the set-up cell and its own cell alone.
    >
    > These rules hold for all exercises: inputs stay unchanged; NumPy floating-point warnings count as failures; results have
    > the stated shape; a float may be a Python float, a NumPy scalar or a 0-d array. Points come by groups of cases, and inputs
    > that you do not see are tried too.""")
CLASS = "checks the first things; the rest is graded after you submit"
SELF = "gives the verdict: points, the smallest input that fails, and what probably happened"


def cell_id(id: str) -> str:
    """The nbgrader id of the cell that is graded: "activations-stable-sigmoid". Only letters, digits, - and _ pass nbgrader's editor."""
    return id.replace(".", "-")


def solution_id(id: str) -> str:
    """The nbgrader id of the cell in which a learner writes."""
    return f"{cell_id(id)}-solution"


def source_notebook(chapter: Chapter) -> NotebookNode:
    """The instructor edition: nbgrader's format, with solutions and the hidden lines."""
    return _notebook(chapter, _source_cells)


def self_study_notebook(chapter: Chapter) -> NotebookNode:
    """The self-study edition: verdicts and quiz widgets live in the notebook."""
    return _notebook(chapter, _self_cells)


def _notebook(chapter: Chapter, cells_of: Callable[[Chapter, Cell], Iterator[NotebookNode]]) -> NotebookNode:
    cells, seen_header = [], False
    for cell in chapter.cells:
        cells += cells_of(chapter, cell)
        if cell.kind == "markdown" and not seen_header:
            seen_header = True
            cells.append(v4.new_markdown_cell(_RULES.format(verdict=CLASS if cells_of is _source_cells else SELF)))
    for i, cell in enumerate(cells):
        # nbformat draws random ids; ours are the same on every build
        cell.id = (cell.metadata.pop("fixed_id", None) or cell.metadata.get("nbgrader", {}).get("grade_id", f"cell-{i:03d}"))[:64]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def _marked(source: str, id: str, *, points: float | None = None, solution: bool = False, start: str | None = None) -> NotebookNode:
    grader = {"schema_version": 3, "grade_id": id, "grade": points is not None, "solution": solution, "locked": not solution, "task": False}
    if points is not None:
        grader["points"] = points
    metadata = {"nbgrader": grader} | ({"dlcourse": {"start": start}} if start is not None else {})
    return v4.new_code_cell(source, metadata=metadata)


def _source_cells(chapter: Chapter, cell: Cell) -> Iterator[NotebookNode]:
    match cell.kind:
        case "markdown":
            yield v4.new_markdown_cell(cell.source)
        case "setup":
            yield _marked(cell.source, "setup")
        case "exercise":
            broken = next((c.source for c in chapter.cells if c.kind == "broken" and c.id == cell.id), None)
            yield _marked(cell.source, solution_id(cell.id), solution=True, start=broken)
        case "check":
            task = chapter.tasks[cell.id]
            yield _marked(_hidden(f'grade("{cell.id}")', "grade", cell.source), cell_id(cell.id), points=task.points)
        case "quiz":
            yield v4.new_markdown_cell(as_markdown(chapter.questions))
            id = quiz_id(chapter.name)
            yield _marked(
                answer_sheet(chapter.questions, right=True), solution_id(id), solution=True, start=answer_sheet(chapter.questions)
            )
            asserts = 'assert set(answers.values()) <= set("abcdef") | {""}, "one letter for each question"'
            hidden = _hidden(f'grade_quiz("{chapter.name}")', "grade_quiz", asserts)
            yield _marked(hidden, cell_id(id), points=float(len(chapter.questions)))
        case "code" | "demo":
            yield v4.new_code_cell(cell.source)


def _with_id(source: str, id: str) -> NotebookNode:
    return v4.new_code_cell(source, metadata={"fixed_id": id})


def _hidden(call: str, name: str, asserts: str) -> str:
    lines = ["### BEGIN HIDDEN TESTS", f"from autograder.live import {name}", call, "### END HIDDEN TESTS", asserts]
    return "\n".join(["# What you see here is checked at once, the rest after you submit.", *lines]).rstrip()


def _self_cells(chapter: Chapter, cell: Cell) -> Iterator[NotebookNode]:
    match cell.kind:
        case "setup":
            yield v4.new_code_cell(cell.source)
            yield v4.new_code_cell("from autograder.live import grade, grade_quiz, questions")
        case "exercise":
            yield _with_id(chapter.tasks[cell.id].start, solution_id(cell.id))
        case "check":
            yield _with_id(f'grade("{cell.id}")', cell_id(cell.id))
        case "quiz":
            yield v4.new_markdown_cell(as_markdown(chapter.questions))
            yield v4.new_markdown_cell("Click an option and read why, or fill in the sheet below and grade it as a whole.")
            yield v4.new_code_cell(f'questions("{chapter.name}")')
            yield _with_id(answer_sheet(chapter.questions), solution_id(quiz_id(chapter.name)))
            yield _with_id(f'grade_quiz("{chapter.name}")', cell_id(quiz_id(chapter.name)))
        case "broken":
            return
        case _:
            yield from _source_cells(chapter, cell)
