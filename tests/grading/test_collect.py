"""Taking over what a learning platform hands out."""

import io
import json
import os
import stat
import zipfile

import pytest
from course import CHAPTER, RIGHT, notebook

from autograder.chapter import Chapter
from autograder.course import chapters
from autograder.errors import CourseError
from autograder.grading import collect as module
from autograder.grading import uploads
from autograder.grading.collect import collect
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
    path.write_bytes(packed(entries))
    return path


def packed(entries):
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return box.getvalue()


def laid_out(folder, entries):
    for name, data in entries.items():
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
    return folder


def broken(names):
    """Zips that cannot be opened: a damaged directory, and names that are not the UTF-8 that they say they are."""
    whole, named = packed(names), bytearray(packed({"ÄÄmini.ipynb": "x"}))
    at = named.rfind("ÄÄ".encode())
    named[at : at + 2] = b"\xff\xff"
    return whole.replace(b"PK\x01\x02", b"XXXX"), bytes(named)


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
    monkeypatch.setattr(uploads, "MAX_BYTES", 100_000)
    bomb = zipped(tmp_path / "bomb.zip", {"bomb.ipynb": b"0" * 200_000})
    inner = zipped(tmp_path / "inner.zip", {"eve.ipynb": work, "deeper.zip": bomb.read_bytes()}).read_bytes()
    found = take(zipped(tmp_path / "x.zip", {"ann.ipynb": work, "bomb.ipynb": b" " * 200_000, "more.zip": inner, "no.zip": b"PK no"}))
    assert submitted(course) == [f"ann/{CHAPTER}/mini.ipynb", f"more/{CHAPTER}/mini.ipynb"]
    assert len(found.refused) == 3


def test_a_lie_about_the_size_does_not_help(course, take, work, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 100_000)
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


CANVAS = ["mueller_anna_12345_67890_01-mini.ipynb", "doejane_LATE_12346_67891_mini-1.ipynb", "roemax_12347_67892_work.zip"]
MOODLE = [
    "Anna Müller_12345_assignsubmission_file_/mini.ipynb",
    "Jane Doe_12346_assignsubmission_file_/mini (1).ipynb",
    "Max Roe_12347_assignsubmission_file_/work.zip",
]
BLACKBOARD = [
    "ps1_amueller_attempt_2026-01-30-15-00-00_mini.ipynb",
    "ps1_jdoe_attempt_2026-01-30-16-00-00_my_mini.ipynb",
    "ps1_mroe_attempt_2026-01-30-17-00-00_work.zip",
]
NBGRADER = [f"submitted/{s}/01-mini/mini.ipynb" for s in ("amueller", "jdoe", "mroe")]
EXPORTS = {
    "canvas": (CANVAS, ["doejane_12346", "mueller_anna_12345", "roemax_12347"]),
    "moodle": (MOODLE, ["Anna Müller", "Jane Doe", "Max Roe"]),
    "moodle in one folder": ([n.replace("_/", "_") for n in MOODLE], ["Anna Müller", "Jane Doe", "Max Roe"]),
    "blackboard": (BLACKBOARD, ["amueller", "jdoe", "mroe"]),
    "nbgrader": (NBGRADER, ["amueller", "jdoe", "mroe"]),
}


@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("how", ["zip", "folder", "zip in a folder", "folder in a zip"])
def test_an_export_is_taken_whole(course, take, work, tmp_path, export, how):
    names, students = EXPORTS[export]
    entries = {name: packed({"mini.ipynb": work}) if name.endswith(".zip") else work for name in names}
    if how == "zip in a folder":
        origin = laid_out(tmp_path / "x", {"Week 4 (1).zip": packed(entries)})
    elif how == "folder in a zip":
        origin = zipped(tmp_path / "x.zip", {f"Week 4/{name}": data for name, data in entries.items()})
    else:
        origin = zipped(tmp_path / "x.zip", entries) if how == "zip" else laid_out(tmp_path / "x", entries)
    found = take(origin)
    assert (found.new, found.refused, found.notes) == (3, [], [])
    assert submitted(course) == [f"{s}/{CHAPTER}/mini.ipynb" for s in students]
    assert take(origin).same == 3


def test_a_damaged_zip_costs_its_student_only(course, take, work, tmp_path):
    for n, bad in enumerate((*broken({"mini.ipynb": work}), b"PK no", b"")):
        entries = {"ann/mini.ipynb": work, "eve/work.zip": bad, "joe/work.zip": packed({"in.zip": bad, "mini.ipynb": work})}
        for origin in (laid_out(tmp_path / f"x{n}", entries), zipped(tmp_path / f"x{n}.zip", entries)):
            found = take(origin)
            assert [r.partition(":")[0] for r in found.refused] == ["eve/work.zip", "joe/work.zip/in.zip"]
            assert submitted(course) == [f"{s}/{CHAPTER}/mini.ipynb" for s in ("ann", "joe")]
    with pytest.raises(CourseError, match="cannot be opened as a zip"):
        take(laid_out(tmp_path, {"no.zip": broken({})[1]}) / "no.zip")


def test_what_two_claim_nobody_gets(course, take, work, tmp_path):
    mine = work + "\n"
    names = (f"ps1_{n}_attempt_2026-01-30-15-00-00_mini.ipynb" for n in ("eva_muster", "max_muster", "roe"))
    found = take(laid_out(tmp_path / "x", dict(zip(names, (work, mine, work)))))
    assert submitted(course) == [f"roe/{CHAPTER}/mini.ipynb"]
    assert len(found.refused) == 1
    assert "ps1_eva_muster and ps1_max_muster" in found.refused[0]
    side_by_side = {"Week 4/Jane_1_assignsubmission_file_/mini.ipynb": work, "again/Jane_2_assignsubmission_file_/mini.ipynb": mine}
    with pytest.raises(CourseError, match="Jane_1 and Jane_2 would all be the student 'Jane'"):
        take(laid_out(tmp_path / "y", side_by_side))


def test_people_of_one_name_are_numbered_and_told(course, take, work, tmp_path):
    (course / "submitted" / "Jane Doe").mkdir(parents=True)
    names = [f"{name}_assignsubmission_file_/mini.ipynb" for name in ("Jane Doe_11", "Jane Doe_22", "Joe_33")]
    found = take(laid_out(tmp_path / "x", dict.fromkeys(names, work)))
    assert submitted(course) == [f"{s}/{CHAPTER}/mini.ipynb" for s in ("Jane Doe_11", "Jane Doe_22", "Joe")]
    assert found.refused == []
    assert "2 students are called 'Jane Doe'; they were taken as Jane Doe_11, Jane Doe_22." in found.notes[0]
    assert "is from before" in found.notes[0]


def test_the_last_attempt_counts(course, take, work, tmp_path):
    names = [f"ps1_jane_attempt_2026-01-{day}-15-00-00_{name}.ipynb" for day, name in (("09", "mini"), ("30", "mini (1)"), ("10", "mini"))]
    found = take(laid_out(tmp_path / "x", {name: work + "\n" * n for n, name in enumerate(names)}))
    assert (course / "submitted" / "jane" / CHAPTER / "mini.ipynb").read_text() == work + "\n"
    assert len(found.refused) == 2
    assert all("mini (1).ipynb was taken" in r for r in found.refused)


def test_the_notebooks_very_name_comes_before_others(course, take, work, tmp_path):
    names = ["a/mini (1).ipynb", "a/A.ipynb", "a/mini.ipynb", "a/01-mini/mini.ipynb", "b/Mini.IPYNB", "c/work.ZIP", "d/work.7z"]
    entries = dict.fromkeys(names, "{}") | {"a/mini.ipynb": work, "c/work.ZIP": packed({"mini.ipynb": work})}
    found = take(laid_out(tmp_path / "x", entries))
    assert submitted(course) == [f"{s}/{CHAPTER}/mini.ipynb" for s in "abc"]
    assert (course / "submitted" / "a" / CHAPTER / "mini.ipynb").read_text() == work
    assert "d/work.7z: archives of this kind are not opened: ask for a notebook or a zip." in found.refused


def test_what_is_told_is_one_clean_line_each(take, work, tmp_path):
    name = "\x1b[2J\x1b]0;owned\x07\n200 graded, all fine\u202e/../a.ipynb"
    entries = {"ann/mini.ipynb": work, "eve/work.zip": packed({name: work}), b"M\xfcller/mini.ipynb": work, "eve/b.zip": b"PK no"}
    refused = take(laid_out(tmp_path / "x", entries)).refused
    assert len(refused) == 3
    assert all(r.isprintable() for r in refused), refused
    assert "is not text in UTF-8" in "".join(refused)


def test_the_uploads_of_one_student_are_told_in_a_few_lines(take, work, tmp_path):
    many = packed({f"n{n}.ipynb": work for n in range(300)} | {f"../{n}.ipynb": work for n in range(300)})
    assert len(take(laid_out(tmp_path / "x", {"ann/mini.ipynb": work, "eve/work.zip": many})).refused) == 6


def test_only_what_may_count_is_unpacked(take, work, tmp_path, monkeypatch):
    read, whole = [], uploads.Upload.read
    monkeypatch.setattr(uploads.Upload, "read", lambda self: read.append(self.path) or whole(self))
    many = packed({f"n{n}.ipynb": work for n in range(8)})
    found = take(laid_out(tmp_path / "x", {"ann/mini.ipynb": work, "eve/w.zip": packed({f"{n}.zip": many for n in range(3)})}))
    assert read == ["ann/mini.ipynb", "eve/w.zip/0.zip", "eve/w.zip/1.zip", "eve/w.zip/2.zip", "eve/w.zip/0.zip/n0.ipynb"]
    assert found.new == 2


def test_one_student_cannot_use_up_what_may_be_read(course, take, work, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 100_000)
    monkeypatch.setattr(module, "MAX_STUDENT", 120_000)
    monkeypatch.setattr(module, "MAX_TOTAL", 300_000)
    large = packed({f"{n}.zip": packed({"a.txt": os.urandom(90_000)}) for n in range(9)})
    entries = {f"bob_{n}_{n}_mini.ipynb": b" " * 200_000 for n in range(9)}
    entries |= {"eve_1_2_w.zip": large, "fay_3_4_w.zip": packed({"a.txt": os.urandom(90_000)}), "zoe_5_6_mini.ipynb": work}
    found = take(zipped(tmp_path / "x.zip", entries))
    assert submitted(course) == [f"zoe_5/{CHAPTER}/mini.ipynb"]
    assert len(found.refused) == 9 + 1 + 1


def test_a_zip_of_endless_names_is_not_opened(course, take, work, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_STUDENT", 300 << 10)
    many = packed({f"{n}.txt": "" for n in range(400)})
    found = take(laid_out(tmp_path / "x", {"ann/mini.ipynb": work, "eve/w.zip": many, "joe/w.zip": packed({"w.zip": many})}))
    assert submitted(course) == [f"ann/{CHAPTER}/mini.ipynb"]
    assert [r.partition(":")[0] for r in found.refused] == ["eve/w.zip", "joe/w.zip/w.zip"]


def test_of_several_chapters_too_only_so_much_is_read(course, work, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 100_000)
    monkeypatch.setattr(module, "MAX_STUDENT", 120_000)
    entries = {"eve_1_2_w.zip": packed({f"{n}.ipynb": b"0" * 50_000 for n in range(5)}), "zoe_5_6_mini.ipynb": work}
    found = collect(Settings(course), [*chapters(course).values()] * 2, zipped(tmp_path / "x.zip", entries))
    assert found.new == 1
    assert ["no chapter" in r for r in found.refused] == [True] * 3 + [False] * 2
    assert "more than" in found.refused[-1]


def test_a_notebook_finds_its_chapter_by_its_cells(course, work, tmp_path):
    (course / "chapters" / "02-other").mkdir()
    (course / "chapters" / "02-other" / "other.py").write_text("# %% [markdown]\n# # 2")
    both = [*chapters(course).values(), Chapter(course / "chapters" / "02-other")]
    entries = {"ann/other.ipynb": work, "bob/a.ipynb": "{", "cyd/other-1.ipynb": "{", "dan/a.ipynb": work[:-200]}
    found = collect(Settings(course), both, laid_out(tmp_path / "x", entries))
    assert submitted(course) == ["ann/01-mini/mini.ipynb", "cyd/02-other/other.ipynb", "dan/01-mini/mini.ipynb"]
    assert found.refused == ["bob/a.ipynb: it has the cells of no chapter, and its name names none."]


def test_what_cannot_be_written_costs_its_student_only(course, take, work, tmp_path):
    laid_out(course / "submitted", {"ann": "a file"})
    found = take(laid_out(tmp_path / "x", {"ann/mini.ipynb": work, "bob/mini.ipynb": work}))
    assert submitted(course) == ["ann", f"bob/{CHAPTER}/mini.ipynb"]
    assert len(found.refused) == 1


def test_links_pipes_and_folders_are_not_followed(course, take, work, tmp_path):
    origin = laid_out(tmp_path / "x", {"ann/mini.ipynb": work, "bob/a.txt": ""})
    (origin / "bob" / "mini.ipynb").symlink_to(origin / "ann" / "mini.ipynb")
    (origin / "cyd").symlink_to(origin / "ann")
    (origin / "dan.ipynb").mkdir()
    os.mkfifo(origin / "eve.zip")
    os.mkfifo(origin / "fay.ipynb")
    found = take(origin)
    assert submitted(course) == [f"ann/{CHAPTER}/mini.ipynb"]
    assert [r.partition(":")[0] for r in found.refused] == ["bob/mini.ipynb", "cyd", "eve.zip", "fay.ipynb"]


def test_whoever_is_known_stays_the_same_however_the_name_is_written(course, take, work, tmp_path):
    take(laid_out(tmp_path / "first", {"José/mini.ipynb": work, "joe/mini.ipynb": work}))
    collected = take(laid_out(tmp_path / "second", {"josé/mini.ipynb": work + " ", "joe/mini.ipynb": work}))
    assert (collected.new, collected.changed, collected.same) == (0, 1, 1)
    assert sorted(p.name for p in (course / "submitted").iterdir()) == ["José", "joe"]


def test_the_time_of_a_notebook_goes_with_it(course, take, work, tmp_path):
    take(laid_out(tmp_path / "first", {"ann/mini.ipynb": work, "joe/mini.ipynb": work}))
    for who in ("ann", "joe"):
        (course / "submitted" / who / CHAPTER / "timestamp.txt").write_text("2025-12-30 10:00:00 UTC")
    collected = take(laid_out(tmp_path / "second", {"ann/mini.ipynb": work + " ", "joe/mini.ipynb": work}))
    assert [(course / "submitted" / who / CHAPTER / "timestamp.txt").exists() for who in ("ann", "joe")] == [False, True]
    assert any("ann" in note and "timestamp.txt" in note for note in collected.notes)


def test_something_else_in_a_notebooks_place_is_put_aside(course, take, work, tmp_path):
    place = course / "submitted" / "ann" / CHAPTER
    place.mkdir(parents=True)
    os.mkfifo(place / "mini.ipynb")
    collected = take(laid_out(tmp_path / "first", {"ann/mini.ipynb": work, "joe/mini.ipynb": work}))
    assert (collected.new, collected.changed) == (1, 1)
    assert (place / "mini.ipynb").read_text() == work


def test_a_zip_of_many_gigabytes_is_not_read(course, take, work, tmp_path):
    folder = laid_out(tmp_path / "all", {"ann/mini.ipynb": work, "joe/mini.ipynb": work})
    with (folder / "eve.zip").open("wb") as file:
        file.truncate(20 << 30)
    collected = take(folder)
    assert collected.new == 2
    assert any("eve.zip" in line and "20480 MB" in line for line in collected.refused)


def test_names_in_utf8_that_a_zip_does_not_call_so_are_read(course, take, work, tmp_path):
    path = zipped(tmp_path / "all.zip", {"José/mini.ipynb": work, "joe/mini.ipynb": work})
    data = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + flags + 1] &= ~0x08
            at = data.find(mark, at + 1)
    path.write_bytes(data)
    assert take(path).new == 2
    assert sorted(p.name for p in (course / "submitted").iterdir()) == ["José", "joe"]
