"""Whose an upload is, by the names that platforms give."""

import unicodedata

import pytest

from autograder.grading.names import claims, unfit

NAMES = {"01-mini", "mini", "02-other", "other"}
WHEN = "2026-01-30-15-00-00"


def whose(*paths):
    """The student of each path of a hand-out, "" where it is nobody's."""
    found = claims([tuple(p.split("/")) for p in paths], NAMES)
    return ["" if (claim := found[tuple(p.split("/"))]).problem else claim.student for p in paths]


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
        ("jane/my work.ipynb", "jane"),
        ("jane.zip/activations (1).ipynb", "jane"),
        ("export/submitted/jane/01-mini/mini.ipynb", "jane"),
        ("ps1_jane_attempt_2026-01-30-15-00-00_mini.ipynb", "jane"),
        ("J. O'Neil, é_1_assignsubmission_file_/mini.ipynb", "J. O'Neil, é"),
        ("mueller_anna_12345_67890_01-mini.ipynb", "mueller_anna_12345"),
        ("mueller_anna_LATE_12345_67890_01-mini.ipynb", "mueller_anna_12345"),
        ("muelleranna_late_12345_67890_work.zip", "muelleranna_12345"),
        ("Anna Müller_12345_assignsubmission_file_/mini.ipynb", "Anna Müller"),
        ("Anna Müller_12345_assignsubmission_file_mini.ipynb", "Anna Müller"),
        ("Homework 1_amueller_attempt_2026-01-30-15-00-00_my_mini.zip", "amueller"),
        ("submitted/amueller/01-mini/mini.ipynb", "amueller"),
        ("01-mini/amueller.ipynb", "amueller"),
        ("amueller.zip", "amueller"),
        ("jane.doe/mini.ipynb", "jane.doe"),
    ],
)
def test_the_student_is_read_from_the_names_that_platforms_give(path, student):
    assert whose(path) == [student]


@pytest.mark.parametrize(
    "path", ["mini.ipynb", "..ipynb", ".hidden.ipynb", "a\nb.ipynb", "x" * 300 + ".ipynb", "<b>.ipynb", "J_mini.ipynb"]
)
def test_a_name_that_names_nobody_is_refused(path):
    assert whose(path) == [""]


@pytest.mark.parametrize(
    ("honest", "students", "upload", "uploader"),
    [
        (["doe_12_34_mini.ipynb"], ["doe_12"], f"eve_56_78_x_doe_attempt_{WHEN}_mini.ipynb", "eve_56"),
        (["doe_12_34_mini.ipynb"], ["doe_12"], "eve_56_78_doe_12_34_mini.ipynb", "eve_56"),
        (["doe_12_34_mini.ipynb"], ["doe_12"], "eve_56_78_work.zip/doe_12_34_mini.ipynb", "eve_56"),
        (["doe_12_34_mini.ipynb"], ["doe_12"], "eve_56_78_doe_9_assignsubmission_file_.zip/mini.ipynb", "eve_56"),
        (
            ["Doe_1_assignsubmission_file_/mini.ipynb"],
            ["Doe"],
            "Eve_2_assignsubmission_file_/Doe_1_assignsubmission_file_/mini.ipynb",
            "Eve",
        ),
        (["Doe_1_assignsubmission_file_mini.ipynb"], ["Doe"], f"Eve_2_assignsubmission_file_x_Doe_attempt_{WHEN}_y.ipynb", "Eve"),
        (["Doe_1_assignsubmission_file_/x.zip/mini.ipynb"], ["Doe"], "Eve_2_assignsubmission_file_/x.zip/Doe/01-mini/mini.ipynb", "Eve"),
        ([f"ps_1_doe_attempt_{WHEN}_mini.ipynb"], ["doe"], f"ps_1_eve_attempt_{WHEN}_x_doe_attempt_{WHEN}_mini.ipynb", "eve"),
        ([f"ps1_doe_attempt_{WHEN}_mini.ipynb"], ["doe"], f"ps1_eve_attempt_{WHEN}_doe_12_34_mini.ipynb", "eve"),
        (["doe/mini.ipynb"], ["doe"], f"eve/x_doe_attempt_{WHEN}_mini.ipynb", "eve"),
        (["doe/mini.ipynb"], ["doe"], "eve/doe/mini.ipynb", "eve"),
        (["doe/mini.ipynb"], ["doe"], "eve/doe_1_assignsubmission_file_/mini.ipynb", "eve"),
        (["doe_12/mini.ipynb"], ["doe_12"], "eve/doe_12_34_mini.ipynb", "eve"),
        (["doe_12/mini.ipynb"], ["doe_12"], "eve/doe_12_34_x.zip/mini.ipynb", "eve"),
        (["doe/01-mini/mini.ipynb"], ["doe"], "eve/01-mini/doe/01-mini/mini.ipynb", "eve"),
        (["doe/work/01-mini/mini.ipynb"], ["doe"], "eve/doe/01-mini/mini.ipynb", "eve"),
        (["doe.ipynb"], ["doe"], "eve.zip/doe.ipynb", "eve"),
        (["in/doe/mini.ipynb"], ["doe"], "in/eve/doe/mini.ipynb", "eve"),
        (["submitted/doe/01-mini/mini.ipynb"], ["doe"], "submitted/eve/01-mini/doe.ipynb", "eve"),
    ],
)
def test_only_the_outermost_name_counts(honest, students, upload, uploader):
    assert whose(*honest, upload) == [*students, uploader]


@pytest.mark.parametrize(
    "path",
    [
        "doe.ipynb",
        "doe/mini.ipynb",
        "doe/01-mini/mini.ipynb",
        "Doe_1_assignsubmission_file_/mini.ipynb",
        "doe_12_34_mini.ipynb",
        "x.zip/doe.ipynb",
    ],
)
@pytest.mark.parametrize("upload", ["Eve", "eve.zip"])
def test_whoever_is_known_can_hand_in_for_nobody_else(path, upload):
    trails = [(upload, *path.split("/")), (upload, *path.replace("oe", "oo").split("/"))]
    for some in (trails, trails[:1]):
        found = claims(some, NAMES, {"eve", "doe"})
        assert {c.student.casefold() for c in found.values()} == {"eve"}


def test_a_folder_around_a_handout_is_told():
    found = claims([("Week 4", "Doe_1_assignsubmission_file_", "mini.ipynb")], NAMES)
    assert [(c.student, c.around) for c in found.values()] == [("Doe", "Week 4")]


def test_all_of_a_handout_are_read_in_one_way():
    many = [f"doe{n}_1{n}_2{n}_mini.ipynb" for n in range(3)]
    assert whose(*many, f"ps1_eve_attempt_{WHEN}_mini.ipynb", "notes.ipynb") == ["doe0_10", "doe1_11", "doe2_12", "", "notes"]
    assert whose(*[f"hw_4_1_{n}.ipynb" for n in "ab"], *[f"{n}/mini.ipynb" for n in "cd"])[2:] == ["c", "d"]


def test_one_uploader_does_not_change_how_the_others_are_read():
    many = [f"eve/{n}_1_{n}_x.ipynb" for n in range(9)] + ["eve/doe/01-mini/mini.ipynb"]
    assert whose("doe/mini.ipynb", *many) == ["doe"] + ["eve"] * 10
    assert whose("doe/hw_4_1_mini.ipynb", "roe/hw_4_1_mini.ipynb", "eve/x_1_2_mini.ipynb") == ["doe", "roe", "eve"]


def test_several_exports_may_lie_side_by_side():
    moodle = ["Week 4/Jane_11_assignsubmission_file_/mini.ipynb", "Week 5.zip/Jane_21_assignsubmission_file_/other.ipynb"]
    assert whose(*moodle) == ["Jane", "Jane"]
    assert whose("a/doe_12_34_mini.ipynb", f"b/ps1_roe_attempt_{WHEN}_mini.ipynb") == ["doe_12", "roe"]
    assert whose("01-mini/jane.ipynb", "02-other/jane.ipynb") == ["jane", "jane"]


def test_people_of_one_name_are_told_apart_by_moodles_number():
    assert whose("Jane_11_assignsubmission_file_/mini.ipynb", "Jane_22_assignsubmission_file_/mini.ipynb") == ["Jane_11", "Jane_22"]
    assert whose("Jane_11_assignsubmission_file_/mini.ipynb", "Jane _22_assignsubmission_file_/mini.ipynb") == ["Jane_11", "Jane_22"]
    assert whose("JANE_11_assignsubmission_file_/mini.ipynb", "Jane_22_assignsubmission_file_/mini.ipynb") == ["JANE_11", "Jane_22"]
    assert whose("Jane_11_assignsubmission_file_/mini.ipynb", "Jane_11_assignsubmission_file_/more.ipynb") == ["Jane", "Jane"]
    blind = [f"Participant_{n}_assignsubmission_file_/mini.ipynb" for n in range(3)]
    assert whose(*blind) == ["Participant_0", "Participant_1", "Participant_2"]


def test_two_that_claim_one_id_are_both_refused_and_named():
    paths = [(f"ps1_{first}_muster_attempt_{WHEN}_mini.ipynb",) for first in ("eva", "max")]
    found = claims([*paths, (f"ps1_roe_attempt_{WHEN}_mini.ipynb",)], NAMES)
    assert "ps1_eva_muster and ps1_max_muster would all be the student 'muster'" in found[paths[0]].problem
    assert [bool(c.problem) for c in found.values()] == [True, True, False]
    assert whose("jane.ipynb", "jane/mini.ipynb", "joe.ipynb") == ["", "", "joe"]
    attempts = [f"ps1_muster_attempt_2026-01-3{n}-15-00-00_mini.ipynb" for n in (0, 1)]
    assert whose(*attempts) == ["muster", "muster"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("漢" * 67, "201 bytes"),
        ("=HYPERLINK(1)", "begins with '='"),
        ("+1+1", "begins with '+'"),
        ("-rf", "begins with '-'"),
        ("@SUM(1)", "begins with '@'"),
        ("a\x1b[2J", "cannot be seen"),
        ("a\u202eb", "cannot be seen"),
        ("a\u061cb", "cannot be seen"),
        ("a\nb", "cannot be seen"),
        ("a\u3164", "cannot be seen"),
        ("＝1＋1", "begins with"),
        ("M\udcfcller", "not text in UTF-8"),
    ],
)
def test_an_id_is_short_and_harmless(name, says):
    assert says in unfit(name)
    assert whose(f"{name}/mini.ipynb", "joe/mini.ipynb") == ["", "joe"]


@pytest.mark.parametrize(
    "name",
    [
        "漢" * 66, "jane", "J. O'Neil, é", "doe_12", "jane+1@x.org", "x" * 200, "हिन्दी शर्मा", "அருண்", "สมชาย ใจดี",
        "أحمدُ", "O’Brien", "Anna (Annie) Lee", "Núria Gal·la",
    ],
)  # fmt: skip
def test_ordinary_ids_are_fit(name):
    assert not unfit(name)
    assert whose(f"{name}/mini.ipynb", "joe/mini.ipynb") == [name, "joe"]


@pytest.mark.parametrize(
    "name", ["_1" * 30_000, "a_attempt_" * 6000, "-1" * 30_000, "1" * 60_000, "a" * 60_000 + "_assignsubmission_file_"]
)
def test_endless_names_take_no_time(name):
    assert whose(f"{name}/x.ipynb", f"{name}.ipynb", "joe.ipynb")[-1] == "joe"


def test_a_name_is_the_same_however_its_accents_are_written():
    assert whose(f"{unicodedata.normalize('NFD', 'José Núñez')}/mini.ipynb", "joe/mini.ipynb") == ["José Núñez", "joe"]


def test_of_two_platforms_that_could_have_named_all_it_is_the_one_that_names_more_people():
    paths = [f"Week_4_1_{who}_attempt_{WHEN}_mini.ipynb" for who in ("ann", "bob", "cid")]
    assert whose(*paths) == ["ann", "bob", "cid"]


def test_a_name_that_holds_moodles_mark_takes_nobodys_place():
    paths = ["Bob_7_assignsubmission_file_/my.ipynb", "Bob_7_assignsubmission_file_x_12_assignsubmission_file_/mini.ipynb"]
    assert whose(*paths) == ["Bob", ""]
