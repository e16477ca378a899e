"""What a submission printed or drew can do nothing, and cannot look like a verdict."""

import base64

import pytest

from autograder.card import card
from autograder.grading.outputs import MAX_TEXT, cell_outputs, clean_bundle, clean_html, visible
from autograder.student.outcome import CellOutcome
from autograder.verdict import Verdict

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '<img src="https://example.org/track.png">',
        '<a href="javascript:alert(1)">x</a>',
        "<iframe src='data:text/html,x'></iframe>",
        "<svg onload=alert(1)><script>1</script></svg>",
        "<style>body{display:none}</style>",
        '<div style="position:fixed" class="dlcourse-card" id="x">Solved</div>',
        "<form action='https://example.org'><input name=a></form>",
        "<math><mtext></p><style><img src=1 onerror=alert(1)>",
        "<link rel=stylesheet href=//example.org>",
        "<meta http-equiv=refresh content='0;url=//example.org'>",
    ],
)
def test_html_loses_all_but_structure(hostile):
    cleaned = clean_html(hostile)
    for word in ("script", "onerror", "onload", "style", "class", "href", "src", "iframe", "form", "example.org", "id="):
        assert word not in cleaned


def test_a_table_of_a_data_frame_survives():
    table = '<table border="1" class="dataframe"><thead><tr><th colspan="2">a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>'
    assert clean_html(table) == '<table><thead><tr><th colspan="2">a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>'


def test_a_verdict_card_cannot_be_imitated():
    forged = clean_bundle({"text/plain": "3.0", "text/html": card(Verdict("mini.double", 2.0, 2.0, "passed"))})
    assert "style" not in forged["text/html"]
    assert "dlcourse-card" not in forged["text/html"]


def test_only_text_clean_html_and_png_are_kept():
    everything = {
        "text/plain": "x",
        "image/svg+xml": "<svg/>",
        "application/javascript": "1",
        "text/latex": "$x$",
        "text/markdown": "<b>",
        "image/png": PNG,
    }
    assert clean_bundle(everything) == {"text/plain": "x", "image/png": PNG}
    assert "image/png" not in clean_bundle({"image/png": base64.b64encode(b"<svg>").decode()})


def test_text_is_limited_and_shows_what_is_there():
    outputs = cell_outputs(CellOutcome(stdout="x" * 1_000_000))
    assert len(outputs[0]["text"]) < MAX_TEXT + 100
    assert visible("a\u202eb\x1b[31mc\x1b[0m\x00") == "a�bc�"


def test_an_error_is_kept_with_the_learners_lines_only():
    failed = CellOutcome("error", "ValueError: no", where=("line 3, in f: return g(x)",), error="ValueError")
    assert cell_outputs(failed)[-1]["traceback"] == ["line 3, in f: return g(x)", "ValueError: no"]
