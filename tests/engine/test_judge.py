import linecache

import numpy as np
import pytest

from autograder.card import lines
from autograder.judge import judge, same_program
from autograder.live import LiveStudent


def verdict_of(chapter, id, source, start=""):
    names = {}
    file = "<exercise test>"
    text = f"{chapter.setup}\n{source}"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), names)
    return judge(chapter.prepared[id], LiveStudent(names, chapter.exercises[id].names, 2), points=2.0, source=source, start=start)


def test_a_right_solution_in_another_style_passes(toy):
    verdict = verdict_of(toy, "toy.relu", "relu = lambda z: (z + abs(z)) / 2")
    assert verdict.passed
    assert repr(verdict) == "2.0"
    assert verdict.lamps == (("values", True), ("edge", True))


def test_a_known_mistake_is_named_with_the_smallest_input(toy):
    verdict = verdict_of(toy, "toy.relu", "def relu(z):\n    return (z ** 2) ** 0.5")
    assert (verdict.trap, verdict.points, verdict.status) == ("absolute", 0, "failed")
    assert verdict.counterexample == "z = array([ 0.,  0., -1.])"
    assert (verdict.expected, verdict.got) == ("array([0., 0., 0.])", "array([0., 0., 1.])")
    assert "negative entries become 0" in verdict.as_json()["message"]


def test_an_unknown_mistake_gets_no_misconception(toy):
    verdict = verdict_of(toy, "toy.relu", "def relu(z):\n    return np.maximum(z, 0) + 1")
    assert verdict.trap is None
    assert "differs in" in verdict.message


def test_a_changed_input_is_noticed_although_the_values_are_right(toy):
    verdict = verdict_of(toy, "toy.relu", "def relu(z):\n    z[z < 0] = 0\n    return z")
    assert verdict.trap == "in_place"
    assert "changed its input" in verdict.message


def test_a_crash_shows_the_learners_own_lines_only(toy):
    verdict = verdict_of(toy, "toy.relu", "def relu(z):\n    return z.foo")
    assert "AttributeError" in verdict.message
    assert verdict.where == ("line 3, in relu: return z.foo",)


def test_a_warning_costs_points_where_the_values_are_right(toy):
    verdict = verdict_of(toy, "toy.relu", "def relu(z):\n    np.log(z * 0 - 1)\n    return np.maximum(z, 0)")
    assert "Your code warned: invalid value" in verdict.message


def test_a_forbidden_shortcut_is_found_before_anything_runs(toy):
    verdict = verdict_of(toy, "toy.relu", "def relu(z):\n    return np.clip(z, 0, None)")
    assert (verdict.status, verdict.points) == ("forbidden", 0)


def test_a_missing_name_is_said(toy):
    verdict = verdict_of(toy, "toy.relu", "def rlu(z):\n    return z")
    assert verdict.message.startswith("The cell does not define relu.")


def test_a_hang_ends_as_time(toy):
    verdict = verdict_of(toy, "toy.relu", "def relu(z):\n    while True: pass")
    assert verdict.status == "time"


def test_what_was_given_is_no_attempt(toy):
    task = toy.tasks["toy.relu"]
    assert verdict_of(toy, "toy.relu", task.start + "\n# thinking", task.start).status == "not attempted"


@pytest.mark.parametrize(
    ("source", "points"),
    [
        ("def check_relu(relu):\n    assert np.array_equal(relu(np.array([-1.0, 2.0])), [0, 2])", 2.0),
        ("def check_relu(relu):\n    assert relu(np.array(-1.0)) == 0", 1.0),
        ("def check_relu(relu):\n    pass", 0.0),
        ("def check_relu(relu):\n    assert False", 0.0),
        ("def check_relu(relu):\n    raise ValueError", 0.0),
    ],
)
def test_a_check_scores_what_it_catches_less_what_it_wrongly_rejects(toy, source, points):
    assert verdict_of(toy, "toy.test-relu", source).points == points


def test_the_card_escapes_what_a_submission_says(toy):
    verdict = verdict_of(toy, "toy.relu", "def relu(z):\n    raise ValueError('<script>alert(1)</script>')")
    html = verdict._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert any("Smallest input found" in line for line in lines(verdict))


def test_two_runs_give_the_same_verdict(toy):
    source = "def relu(z):\n    return np.where(z > 1, z, 0.0)"
    assert verdict_of(toy, "toy.relu", source) == verdict_of(toy, "toy.relu", source)


def test_comments_and_spacing_do_not_make_a_program():
    assert same_program("def f(x):\n  return x  # new", "def f(x):\n    return x")
    assert same_program("  \n# only a comment", "def f(x):\n    return x")
    assert not same_program("def f(x):\n    return -x", "def f(x):\n    return x")


def test_a_result_of_a_strange_type_is_an_error_in_words(toy):
    verdict = verdict_of(toy, "toy.relu", "def relu(z):\n    return object()")
    assert "the result is of type object" in verdict.message
    assert np.isfinite(verdict.points)
