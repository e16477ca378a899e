import json

import pytest
from click.testing import CliRunner

from autograder.build import build, stale
from autograder.build.notebook import self_study_notebook
from autograder.chapter import Chapter, stub
from autograder.cli import main
from autograder.course import chapters
from autograder.coverage import coverage_of
from autograder.errors import AuthoringError
from autograder.quiz import mark
from autograder.quiz_verdict import quiz_verdict


def text_of(path):
    return {c["id"]: "".join(c["source"]) for c in json.loads(path.read_text())["cells"]}


def test_the_three_editions_are_built_and_a_changed_one_is_named(course):
    found = list(chapters(course).values())
    build(course, found)
    assert stale(course, found) == []
    release = text_of(course / "release/99-toy/toy.ipynb")
    assert release["toy-relu-solution"] == Chapter(course / "chapters/99-toy").tasks["toy.relu"].start
    assert release["toy-fix-leaky-solution"].strip().endswith("np.maximum(z, 0.01) + 1")
    assert "grade(" not in release["toy-relu"]
    assert '"toy.q1": ""' in release["toy-quiz-solution"]
    assert 'grade("toy.relu")' in text_of(course / "source/99-toy/toy.ipynb")["toy-relu"]
    assert "secret reason" not in (course / "notebooks/99-toy.ipynb").read_text()
    with (course / "release/99-toy/toy.ipynb").open("a") as file:
        file.write(" ")
    (course / "source/99-toy/companion.txt").write_text("leaks")
    assert [str(p) for p in stale(course, found)] == ["release/99-toy/toy.ipynb", "source/99-toy/companion.txt"]


def test_a_stub_keeps_signature_and_docstring():
    body = "    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION"
    source = f'def f(x):\n    """Doc."""\n{body}\n\n\ndef g(x):\n{body}'
    gap = "    # YOUR CODE HERE\n    raise NotImplementedError()"
    assert stub(source) == f'def f(x):\n    """Doc."""\n{gap}\n\n\ndef g(x):\n{gap}'


def test_cell_ids_are_the_same_on_every_build(toy):
    assert [c.id for c in self_study_notebook(toy).cells] == [c.id for c in self_study_notebook(toy).cells]


def test_coverage_names_what_is_missing_and_what_is_unknown(course):
    chapter = Chapter(course / "chapters/99-toy")
    assert coverage_of(chapter).complete
    (course / "chapters/99-toy/objectives.yaml").write_text("- {id: toy.relu, kind: fact, says: x}\n- {id: toy.new, kind: fact, says: x}\n")
    found = coverage_of(Chapter(course / "chapters/99-toy"))
    assert found.missing == ["toy.new"]
    assert found.unknown["demo toy.demo"] == ["toy.demo"]


def test_the_answer_sheet_is_marked_question_by_question(toy):
    marked = mark(toy.questions, {"toy.q1": " B ", "toy.q2": "z", "toy.q3": "a"})
    assert [(m.chosen, m.right) for m in marked] == [(1, False), (-1, False)]
    verdict = quiz_verdict("99-toy", mark(toy.questions, {"toy.q1": "a", "toy.q2": "a"}))
    assert (verdict.exercise, verdict.points, verdict.max_points, verdict.status) == ("toy.quiz", 1.0, 2.0, "partly")
    assert "only negative entries become zero" in verdict._repr_html_()
    assert quiz_verdict("99-toy", mark(toy.questions, None)).status == "not attempted"


@pytest.mark.parametrize("entry", ["- {id: x}", "- {id: x, covers: [], stem: s, options: [a], answer: 0, why: [b]}"])
def test_a_question_that_is_not_well_formed_is_refused(course, entry):
    (course / "chapters/99-toy/quiz.yaml").write_text(entry)
    with pytest.raises(AuthoringError, match=r"quiz\.yaml"):
        _ = Chapter(course / "chapters/99-toy").questions


def test_an_exercise_without_a_hidden_side_is_refused(course):
    (course / "chapters/99-toy/answers.py").write_text("")
    with pytest.raises(AuthoringError, match=r"toy\.relu"):
        _ = Chapter(course / "chapters/99-toy").exercises


def run(course, monkeypatch, *words):
    monkeypatch.chdir(course)
    return CliRunner().invoke(main, list(words))


def test_try_prints_one_json_object(course, monkeypatch):
    (course / "mine.py").write_text("def relu(z):\n    return abs(z)\n")
    result = run(course, monkeypatch, "try", "toy.relu", "mine.py", "--json")
    verdict = json.loads(result.output)
    assert result.exit_code == 1
    assert list(verdict) == ["exercise", "points", "max_points", "passed", "trap", "message", "counterexample"]
    assert (verdict["trap"], verdict["points"], verdict["max_points"]) == ("absolute", 0.0, 2.0)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["try", "toy.rely", "mine.py"], "Did you mean 'toy.relu'?"),
        (["build", "banana"], "There is no chapter 'banana'"),
        (["coverage", "banana"], "There is no chapter 'banana'"),
    ],
)
def test_an_unknown_name_is_said_without_a_traceback(course, monkeypatch, words, text):
    (course / "mine.py").write_text("")
    result = run(course, monkeypatch, *words)
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.parametrize("command", ["build", "try", "coverage", "grade", "check", "doctor"])
def test_every_command_helps_with_an_example(command):
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert "Example: dlcourse" in result.output
