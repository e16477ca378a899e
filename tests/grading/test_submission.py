"""Reading what was handed in: whatever the file holds, the outcome is explicit."""

import json

import pytest

from autograder.grading.submission import MAX_BYTES, MAX_CELL, read_submission

WANTED = {"mini-double-solution", "mini-root-solution"}


def cell(id, source, **more):
    return {"cell_type": "code", "metadata": {"nbgrader": {"grade_id": id}}, "source": source, "outputs": [], **more}


def written(tmp_path, cells, **more):
    path = tmp_path / "mini.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells, **more}))
    return path


def test_only_the_text_of_solution_cells_is_taken(tmp_path):
    path = written(tmp_path, [cell("mini-double-solution", ["a = 1\n", "b = 2"]), cell("mini-double", "evil()"), cell(None, "evil()")])
    submission = read_submission(path, WANTED)
    assert dict(submission.sources) == {"mini-double-solution": "a = 1\nb = 2"}
    assert submission.problem == ""


def test_of_copies_the_last_that_is_not_empty_counts_and_the_student_is_told(tmp_path):
    id = "mini-double-solution"
    submission = read_submission(written(tmp_path, [cell(id, "first"), cell(id, "second"), cell(id, " \n")]), WANTED)
    assert submission.sources[id] == "second"
    assert "3 times" in submission.notes[id][0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not well-formed JSON"),
        (b'{"cells": [', "not well-formed JSON"),
        (b"\x80\x81\xff\x00", "not text in UTF-8"),
        (b"[" * 200_000, "nests too deep"),
        (b"[]", "no list of cells"),
        (b'"text"', "no list of cells"),
        (b'{"cells": {}}', "no list of cells"),
        (b'{"worksheets": [], "nbformat": 3}', "old format"),
        (b'{"cells": [], "nbformat": 5}', "notebook format 5"),
        (b'{"cells": [], "nbformat": [[[]]]}', "notebook format"),
        (b'{"cells": [], "nbformat": 4}', "none of this chapter's exercise cells"),
        (b'{"cells": [1, null, [], {"metadata": []}, {"metadata": {"nbgrader": 3}}], "nbformat": 4}', "none of this chapter's"),
        (b'{"cells": [{"metadata": {"nbgrader": {"grade_id": "losses-mse-solution"}}}], "nbformat": 4}', "another chapter (losses)"),
    ],
)
def test_a_bad_file_has_a_reason(tmp_path, content, says):
    path = tmp_path / "mini.ipynb"
    path.write_bytes(content)
    assert says in read_submission(path, WANTED).problem


def test_numbers_and_constants_of_a_hostile_file_do_no_harm(tmp_path):
    text = json.dumps({"cells": [cell("mini-double-solution", "x")], "nbformat": 4})
    path = tmp_path / "mini.ipynb"
    path.write_text(text[:-1] + f', "n": {"9" * 100_000}, "x": NaN, "y": -Infinity, "z": 1e999999}}')
    assert read_submission(path, WANTED).sources["mini-double-solution"] == "x"


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, [1, None, {}]])
def test_a_source_that_is_no_text_is_empty(tmp_path, source):
    assert read_submission(written(tmp_path, [cell("mini-double-solution", source)]), WANTED).sources["mini-double-solution"] == ""


def test_a_source_without_end_is_cut_off_and_blank_lines_are_few(tmp_path):
    many = "x = 1" + "\n \t" * 6_000 + "\ny = 2\n\n\nz = 3"
    cells = [cell("mini-double-solution", many), cell("mini-root-solution", "x = 1\n" * 1_000_000)]
    sources = read_submission(written(tmp_path, cells), WANTED).sources
    assert sources["mini-double-solution"].split() == ["x", "=", "1", "y", "=", "2", "z", "=", "3"]
    assert sources["mini-double-solution"].count("\n") == 4
    assert MAX_CELL < len(sources["mini-root-solution"]) < 2 * MAX_CELL


def test_a_lone_surrogate_can_be_written_afterwards(tmp_path):
    submission = read_submission(written(tmp_path, [cell("mini-double-solution", "x = '\ud800'")]), WANTED)
    assert submission.sources["mini-double-solution"].encode()


def test_missing_linked_huge_and_special_files_are_not_read(tmp_path):
    real = written(tmp_path, [cell("mini-double-solution", "x")])
    (tmp_path / "link.ipynb").symlink_to(real)
    (tmp_path / "folder.ipynb").mkdir()
    with (tmp_path / "huge.ipynb").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    import os

    os.mkfifo(tmp_path / "pipe.ipynb")
    says = {
        "none": "There is no file",
        "link": "cannot be read",
        "folder": "not a regular file",
        "huge": "at most 20 MB",
        "pipe": "not a regular",
    }
    for name, text in says.items():
        assert text in read_submission(tmp_path / f"{name}.ipynb", WANTED).problem
