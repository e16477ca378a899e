"""Taking over what a learning platform hands out."""

import json
import stat
import zipfile
from pathlib import PurePosixPath

import pytest
from course import CHAPTER, RIGHT, notebook

from autograder.course import chapters
from autograder.errors import CourseError, NotebookError
from autograder.grading import collect as module
from autograder.grading.collect import collect, student_of
from autograder.grading.settings import Settings


@pytest.fixture
def take(course, monkeypatch):
    monkeypatch.chdir(course)
    settings = Settings(course)
    return lambda origin: collect(settings, list(chapters(course).values()), origin)


@pytest.fixture
def work(course):
    return json.dumps(notebook(course, RIGHT))


def submitted(course):
    return sorted(str(p.relative_to(course / "submitted")) for p in (course / "submitted").rglob("*") if p.is_file())


def zipped(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("path", "student"),
    [
        ("doejane_12345_67890_mini.ipynb", "doejane_12345"),
        ("doejane_LATE_12345_67890_mini-1.ipynb", "doejane_12345"),
        ("Jane Doe_12345_assignsubmission_file_/mini.ipynb", "Jane Doe"),
        ("Week 4/Jane Doe_12345_assignsubmission_file/mini (2).ipynb", "Jane Doe"),
        ("jane/01-mini/mini.ipynb", "jane"),
        ("export/jane/01-mini/renamed.ipynb", "jane"),
        ("jane.ipynb", "jane"),
        ("jane/mini.ipynb", "jane"),
        ("all/jane.ipynb", "jane"),
        ("ps1_jane_attempt_2026-01-30-15-00-00_mini.ipynb", "jane"),
        ("J. O'Neil, é_1_assignsubmission_file_/mini.ipynb", "J. O'Neil, é"),
    ],
)
def test_the_student_is_read_from_the_names_that_platforms_give(built, path, student):
    assert student_of(PurePosixPath(path), list(chapters(built).values())) == student


@pytest.mark.parametrize("path", ["mini.ipynb", "..ipynb", ".hidden.ipynb", "a\nb.ipynb", "x" * 300 + ".ipynb", "<b>.ipynb"])
def test_a_name_that_names_nobody_is_refused(built, path):
    with pytest.raises(NotebookError):
        student_of(PurePosixPath(path), list(chapters(built).values()))


def test_a_zip_is_taken_over_without_believing_it(course, take, work, tmp_path):
    origin = zipped(
        tmp_path / "x.zip",
        {
            "ann_1_2_mini.ipynb": work,
            "../../evil.ipynb": work,
            "/etc/evil.ipynb": work,
            "bob/01-mini/mini.ipynb": work,
            "bob/01-mini/numpy.py": "evil",
            "bob/01-mini/timestamp.txt": "1999-01-01",
            "__MACOSX/._bob.ipynb": "x",
            "broken.ipynb": "{",
        },
    )
    with zipfile.ZipFile(origin, "a") as archive:
        link = zipfile.ZipInfo("link.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    found = take(origin)
    assert submitted(course) == [f"{s}/{CHAPTER}/mini.ipynb" for s in ("ann_1", "bob", "broken")]
    assert found.new == 3
    assert {r.partition(":")[0] for r in found.refused} == {"../../evil.ipynb", "/etc/evil.ipynb", "link.ipynb"}


def test_bombs_are_refused_one_by_one(course, take, work, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    bomb = zipped(tmp_path / "bomb.zip", {"bomb.ipynb": b"0" * 200_000})
    inner = zipped(tmp_path / "inner.zip", {"eve.ipynb": work, "deeper.zip": bomb.read_bytes()}).read_bytes()
    found = take(zipped(tmp_path / "x.zip", {"ann.ipynb": work, "bomb.ipynb": b" " * 200_000, "more.zip": inner, "no.zip": b"PK no"}))
    assert submitted(course) == [f"ann/{CHAPTER}/mini.ipynb", f"eve/{CHAPTER}/mini.ipynb"]
    assert len(found.refused) == 3


def test_a_lie_about_the_size_does_not_help(course, take, work, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    path = zipped(tmp_path / "x.zip", {"ann.ipynb": work, "bob.ipynb": b"0" * 200_000})
    path.write_bytes(path.read_bytes().replace((200_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert len(take(path).refused) == 1


def test_duplicates_are_named_and_an_older_notebook_is_kept(course, take, work, tmp_path):
    origin = tmp_path / "folder"
    for name in ("ann_1_2_mini.ipynb", "ann_1_3_mini-1.ipynb"):
        (origin / name).parent.mkdir(exist_ok=True)
        (origin / name).write_text(work)
    (origin / "link.ipynb").symlink_to("/etc/passwd")
    first = take(origin)
    assert [r.partition(":")[0] for r in first.refused] == ["ann_1_3_mini-1.ipynb", "link.ipynb"]
    assert take(origin).same == 1
    (origin / "ann_1_2_mini.ipynb").write_text(work + "\n")
    assert take(origin).changed == 1
    assert [name.rpartition(".")[2] for name in submitted(course)] == ["old", "ipynb"]


def test_a_folder_with_nothing_in_it_is_said_to_be_empty(take, tmp_path):
    with pytest.raises(CourseError, match="No notebook"):
        take(tmp_path / "course" / "chapters")
    with pytest.raises(CourseError, match="neither a folder nor a zip"):
        take(tmp_path / "course" / "nbgrader_config.py")
