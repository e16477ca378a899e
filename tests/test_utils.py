"""The helpers that notebooks import."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import utils
from utils import data, explore, figures, markup, predict, quiz, reveal, widgets
from utils.errors import UsageError

ROOT = Path(utils.__file__).parents[1]
QUESTION = {
    "id": "t.q01",
    "stem": "Is $a < b$ **always** <b>so</b>?",
    "options": ["yes, $a$", "no & never", "perhaps"],
    "answer": 1,
    "why": ["Because of x.", "Because of y.", "Because of z."],
    "trap_option": 0,
}


@pytest.fixture
def displayed(monkeypatch):
    """What was displayed, in order; a handle's updates are appended."""
    shown = []

    class Handle:
        def update(self, value):
            shown.append(value)

    def display(value, display_id=None):
        shown.append(value)
        return Handle() if display_id else None

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(widgets, "_predictions", {})
    return shown


@pytest.fixture
def live(monkeypatch):
    """As in a Jupyter kernel."""
    monkeypatch.setattr("utils.card.live", lambda: True)


def line(T=1.0, kind="a", on=True):
    fig, ax = figures.new(width=2, height=1)
    ax.plot([0, T], [0, 1 if on else 2], label=kind)
    return fig


def buttons(widget):
    found = [widget] if type(widget).__name__ == "Button" else []
    return found + [b for child in getattr(widget, "children", ()) for b in buttons(child)]


def words(widget):
    """All text that a widget shows, tags removed."""
    own = re.sub(
        r"<style>.*?</style>|<[^>]*>", "", getattr(widget, "value", "") if isinstance(getattr(widget, "value", ""), str) else "", flags=re.S
    )
    return own + "".join(words(child) for child in getattr(widget, "children", ()))


def run_alone(code, tmp_path, **env):
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path), **env}
    return subprocess.run([sys.executable, "-c", code], env=clean, cwd=tmp_path, capture_output=True, text=True, timeout=60)


# the package


def test_importing_utils_loads_nothing_heavy_and_no_autograder(tmp_path):
    heavy = "{'matplotlib', 'ipywidgets', 'sklearn', 'torch', 'IPython', 'markdown_it', 'autograder'}"
    done = run_alone(f"import utils, sys; print(sorted({heavy} & set(sys.modules)))", tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


def test_no_file_of_utils_names_the_autograder():
    for path in (ROOT / "utils").rglob("*.py"):
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [
            name for node in imports for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        ]
        assert not [name for name in names if name.split(".")[0] == "autograder"], path


def test_figures_and_cards_work_without_kernel_display_and_home(tmp_path):
    config = tmp_path / "mpl"
    config.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    code = """
from utils import explore, figures, predict, reveal, ask
def draw(T):
    fig, ax = figures.new()
    ax.plot([0, T])
    return fig
explore(draw, alt="A line", T=(0, 5, 1, 2))
predict("Which?", ["one", "two"], key="k")
reveal("it was two", answer="two", key="k")
"""
    done = run_alone(code, tmp_path, HOME=str(home), MPLCONFIGDIR=str(config))
    assert done.returncode == 0, done.stderr
    assert "[figure] A line (T = 2)." in done.stdout
    assert "base64" not in done.stdout
    assert "You have not predicted; " in done.stdout
    assert done.stderr == ""
    assert list(home.iterdir()) == []


def test_a_usage_error_shows_in_notebooks_as_one_sentence():
    assert UsageError("explore: bad")._render_traceback_() == ["UsageError: explore: bad"]


# figures


def test_a_figure_is_shown_at_true_size_with_twice_the_pixels_and_alt_text():
    fig, _ = figures.new(width=3, height=2)
    shown = figures.picture(fig, alt='A "quoted" < line')
    assert 'width="288" height="192"' in shown.html
    assert 'alt="A &quot;quoted&quot; &lt; line"' in shown.html
    assert repr(shown) == '[figure] A "quoted" < line'
    header = figures.png(line())[16:24]
    assert (int.from_bytes(header[:4]), int.from_bytes(header[4:])) == (2 * 192, 2 * 96)


def test_the_background_is_opaque_white():
    import io

    import matplotlib.image

    pixels = matplotlib.image.imread(io.BytesIO(figures.png(line())))
    assert (pixels[0, 0] == 1).all()
    assert (pixels[..., 3] == 1).all()


def test_equal_figures_give_equal_bytes():
    assert figures.png(line(T=2.0)) == figures.png(line(T=2.0))
    assert figures.png(line(T=2.0)) != figures.png(line(on=False))


def test_no_text_of_the_style_is_under_nine_points():
    fig, ax = figures.new()
    ax.plot([1, 2], label="a")
    figures.label(ax, "step", "loss (nats)", "Title")
    ax.legend()
    fig.canvas.draw()
    from matplotlib.text import Text

    assert min(text.get_fontsize() for text in fig.findobj(Text)) >= 9


def test_colours_and_line_styles_go_in_step():
    _, ax = figures.new()
    drawn = [ax.plot([1, 2])[0] for _ in figures.COLORS]
    assert [c.get_color() for c in drawn] == list(figures.COLORS)
    assert len({repr(style) for style in figures.STYLES}) == len(figures.COLORS)
    assert len({repr(c._dash_pattern) for c in drawn}) == len(drawn)


def test_the_style_has_no_top_and_right_spine_and_a_grid():
    _, axes = figures.new(ncols=2, nrows=3, sharex=True)
    assert axes.shape == (3, 2)
    assert not axes[0, 0].spines["top"].get_visible()
    assert not axes[0, 0].spines["right"].get_visible()
    assert axes[0, 0].xaxis.get_gridlines()[0].get_visible()


def test_show_closes_a_pyplot_figure_too(displayed):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(1, 1))
    figures.show(fig, alt="Nothing")
    assert not plt.fignum_exists(fig.number)
    assert "Nothing" in displayed[0].html


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: figures.show(None, alt="x"), "got NoneType"),
        (lambda: figures.show(line(), alt=" "), "alt is empty"),
        (lambda: figures.new(ncols=0), "at least 1"),
        (lambda: figures.new(width=0), "positive"),
    ],
)
def test_figures_refuse_in_words(call, says):
    with pytest.raises(UsageError, match=says):
        call()


# explore


def test_explore_shows_one_figure_and_controls(displayed, live):
    explore(line, alt="A line.", T=(0.5, 3.0, 0.25, 1.0), kind=["a", "b"], on=True)
    bar, picture = displayed
    assert picture.text == "[figure] A line (T = 1.0, kind = a, on = True)."
    kinds = [type(w).__name__ for w in bar.children]
    assert {"FloatSlider", "Dropdown", "Checkbox", "Button"} <= set(kinds)
    slider = bar.children[kinds.index("FloatSlider")]
    assert (slider.min, slider.max, slider.step, slider.value, slider.readout_format) == (0.5, 3.0, 0.25, 1.0, ".2f")


def test_a_control_replaces_the_figure_and_reset_brings_the_first_back(displayed, live):
    explore(line, alt="A line", T=(1, 5, 1, 2), on=True)
    bar, first = displayed
    slider, box = (w for w in bar.children if type(w).__name__ in ("IntSlider", "Checkbox"))
    slider.value, box.value = 4, False
    assert displayed[-1].html != first.html
    assert "T = 4, on = False" in displayed[-1].text
    before = len(displayed)
    buttons(bar)[0].click()
    assert (slider.value, box.value) == (2, True)
    assert displayed[-1] == first
    assert len(displayed) == before + 1


def test_draw_gets_the_numbers_that_the_slider_shows(displayed, live):
    explore(line, alt="A line", T=(0.0, 1.0, 0.1, 0.5))
    slider = next(w for w in displayed[0].children if type(w).__name__ == "FloatSlider")
    slider.value = 0.1 + 0.2
    assert displayed[-1].text == "[figure] A line (T = 0.3)."


def test_an_error_of_draw_is_one_sentence_later_and_an_error_at_first(displayed, live):
    def draw(n):
        return line(T=1 / n)

    explore(draw, alt="A line", n=(0, 3, 1, 1))
    slider = next(w for w in displayed[0].children if type(w).__name__ == "IntSlider")
    slider.value = 0
    assert displayed[-1].text == "There is no figure for n = 0: ZeroDivisionError: division by zero"
    slider.value = 2
    assert displayed[-1].text.startswith("[figure]")
    with pytest.raises(ZeroDivisionError):
        explore(draw, alt="A line", n=(0, 3, 1, 0))


def test_a_reloaded_page_is_told_to_run_the_cell_again(displayed, live, monkeypatch):
    explore(line, alt="A line", T=(1, 5, 1, 2))
    bar = displayed[0]
    slider = next(w for w in bar.children if type(w).__name__ == "IntSlider")
    slider.value = 3
    assert "run the cell again" not in words(bar)
    monkeypatch.setattr(widgets, "_page", lambda: "another page")
    slider.value = 4
    assert "run the cell again" in words(bar)


def test_only_quick_figures_follow_a_moving_slider(displayed, live, monkeypatch):
    for limit, follows in ((1e9, True), (0.0, False)):
        monkeypatch.setattr(widgets, "FAST", limit)
        explore(line, alt="A line", T=(1, 5, 1, 2))
        assert next(w for w in displayed[-2].children if type(w).__name__ == "IntSlider").continuous_update is follows


@pytest.mark.parametrize("spec", [(5, 1, 1, 3), (0, 1, 1, 7), (0, 1, 0, 0), (0, 1), [], "relu", 3])
def test_explore_refuses_what_is_no_control(spec):
    with pytest.raises(UsageError, match="explore: T="):
        explore(line, alt="A line", T=spec)


# predict and reveal


def test_the_prediction_stands_beside_the_result(displayed, live):
    predict("What is $1 < 2$?", ["`True`", "False & more"], key="t.a")
    card = displayed[0]
    buttons(card)[1].click()
    assert "Your prediction: False &amp; more." in words(card)
    assert buttons(card)[1].icon == "check"
    reveal("it is True", answer="`True`", key="t.a")
    assert displayed[-1].text.splitlines()[:3] == ["You predicted: False & more", "The answer: `True`", "Result: it is True"]
    assert "Not what you predicted" in displayed[-1].html
    buttons(card)[0].click()
    assert [b.icon for b in buttons(card)] == ["check", ""]
    reveal("it is True", answer="`True`", key="t.a")
    assert "Just as you predicted" in displayed[-1].text


def test_without_a_prediction_the_result_is_shown_all_the_same(displayed):
    reveal(42, answer="forty-two", key="t.never")
    assert displayed[0].text.startswith("The answer: forty-two\nResult: 42\nYou have not predicted; ")


def test_asking_again_forgets_the_prediction(displayed):
    predict("Which?", ["one", "two"], key="t.b", choice="one")
    predict("Which?", ["one", "two"], key="t.b")
    reveal("two", answer="two", key="t.b")
    assert "You have not predicted" in displayed[-1].text


def test_predictions_can_be_written_where_there_are_no_buttons(displayed):
    predict("Which?", ["one", "two"], key="t.c")
    assert 'write choice="…"' in displayed[0].text
    predict("Which?", ["one", "two"], key="t.c", choice="two")
    reveal("two", answer="two", key="t.c")
    assert "Just as you predicted" in displayed[-1].text


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: predict("?", ["one"], key="t"), "2 to 8 different options"),
        (lambda: predict("?", ["one", "one"], key="t"), "2 to 8 different options"),
        (lambda: predict("?", ["one", "two"], key="t", choice="three"), "none of the options"),
        (lambda: (predict("?", ["one", "two"], key="t"), reveal("x", answer="three", key="t")), "none of the options of predict"),
    ],
)
def test_predict_and_reveal_refuse_in_words(call, says, displayed):
    with pytest.raises(UsageError, match=says):
        call()


# questions


def test_a_question_answers_at_once_and_lets_the_learner_try_again():
    card = quiz.ask(QUESTION)
    a, b, c = buttons(card)
    a.click()
    assert "✗ a is not right; it is a common misconception. Because of x." in words(card)
    assert (a.icon, b.icon, c.icon) == ("times", "", "")
    c.click()
    assert "✗ c is not right. Because of z." in words(card)
    b.click()
    assert "✓ b is right. Because of y." in words(card)
    assert "not right" not in words(card)
    assert (a.icon, b.icon, c.icon) == ("", "check", "")


def test_a_question_shows_its_texts_escaped_and_its_math_untouched():
    text = words(quiz.ask(QUESTION))
    assert "Is $a &lt; b$ always &lt;b&gt;so&lt;/b&gt;?" in text
    assert "no &amp; never" in text
    assert buttons(quiz.ask(QUESTION))[1].tooltip == "no & never"


def test_a_question_without_widgets_folds_its_answer_away():
    shown = quiz.ask(QUESTION)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert "<details><summary>Answer</summary><b>b.</b> Because of y.</details>" in shown["text/html"]
    assert "Because" not in shown["text/plain"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"why": ["one"]}, "3 options but 1 reasons"),
        ({"answer": 3}, "numbered 0 to 2"),
        ({"trap_option": 1}, "should number a wrong option"),
        ({"options": ["one"], "why": ["one"], "answer": 0}, "1 options; give 2 to 8"),
    ],
)
def test_a_question_that_does_not_fit_is_refused_by_name(change, says):
    with pytest.raises(UsageError, match=f"quiz question t.q01: .*{says}"):
        quiz.ask({**QUESTION, **change})


def test_a_missing_field_is_named():
    with pytest.raises(UsageError, match="options, why missing"):
        quiz.ask({"id": "t.q02", "stem": "?", "answer": 0})


# markup


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("$a_1 * b_2 * c$", "$a_1 * b_2 * c$"),
        ("$a<b$", "$a&lt;b$"),
        ("`x_1 < 2`", "<code>x_1 &lt; 2</code>"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("costs **5**", "costs <strong>5</strong>"),
    ],
)
def test_markdown_keeps_math_and_escapes_the_rest(text, html):
    assert markup.inline(text) == html


def test_blocks_of_code_stay_blocks():
    assert '<pre><code class="language-python">a = 1\n</code></pre>' in markup.block("Look:\n\n```python\na = 1\n```")


# data


@pytest.mark.parametrize(("load", "n", "features", "classes"), [(data.digits, 1797, 64, 10), (data.wine, 178, 13, 3)])
def test_splits_hold_every_sample_once(load, n, features, classes):
    x_train, y_train, x_test, y_test = load(test=0.3, dtype=np.float64)
    assert len(x_test) == len(y_test) == round(0.3 * n)
    assert x_train.shape == (n - len(x_test), features)
    assert set(np.unique(y_train)) == set(range(classes))
    assert y_train.dtype == np.int64
    whole = load(test=0.0, dtype=np.float64).x_train
    np.testing.assert_allclose(np.sort(np.concatenate([x_train, x_test]), axis=0), np.sort(whole, axis=0))


def test_a_seed_fixes_the_split():
    assert (data.wine(seed=3).y_test == data.wine(seed=3).y_test).all()
    assert not (data.wine(seed=3).y_test == data.wine(seed=4).y_test).all()


def test_standardizing_uses_the_training_part_alone():
    split = data.digits(standardize=True, dtype=np.float64)
    std = split.x_train.std(axis=0)
    np.testing.assert_allclose(split.x_train.mean(axis=0), 0, atol=1e-12)
    assert set(np.round(std, 9)) == {0.0, 1.0}
    assert abs(split.x_test.mean(axis=0)).max() > 0.01
    assert np.isfinite(split.x_test).all()


def test_digits_are_ink_between_zero_and_one_in_single_precision():
    x = data.digits().x_train
    assert (x.dtype, x.min(), x.max()) == (np.float32, 0.0, 1.0)


def test_a_share_outside_its_range_is_refused():
    with pytest.raises(UsageError, match="share held out"):
        data.wine(test=1.0)


def test_stdlib_text_is_plain_python_source_and_a_prefix_of_longer_text():
    text = data.stdlib_text(2_000_000)
    assert len(text) == 2_000_000
    assert set(text) <= set("\n\t") | {chr(c) for c in range(32, 127)}
    assert "def " in text
    assert data.stdlib_text(1_000) == text[:1_000]
    assert data.stdlib_text(0) == ""


@pytest.mark.parametrize(("n", "says"), [(-1, "not negative"), (10**9, "characters of source, 1000000000 were asked")])
def test_stdlib_text_refuses_impossible_lengths(n, says):
    with pytest.raises(UsageError, match=says):
        data.stdlib_text(n)
