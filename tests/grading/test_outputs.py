"""What a submission printed or drew can do nothing, and cannot look like a verdict."""

import base64
import struct
import time

import pytest

from autograder.card import card
from autograder.grading.outputs import MAX_TEXT, NO_FORMULAS, cell_outputs, clean_bundle, clean_html, visible
from autograder.student.outcome import CellOutcome
from autograder.verdict import Verdict


def png(width, height):
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(20)).decode()


PNG = png(100, 80)


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
    cleaned = clean_html(hostile).removeprefix(NO_FORMULAS)
    for word in ("script", "onerror", "onload", "style", "class", "href", "src", "iframe", "form", "example.org", "id="):
        assert word not in cleaned


def test_a_table_of_a_data_frame_survives():
    table = '<table border="1" class="dataframe"><thead><tr><th colspan="2">a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>'
    assert clean_html(table).startswith(NO_FORMULAS)
    assert clean_html(table).removeprefix(NO_FORMULAS).removesuffix("</div>") == (
        '<table><thead><tr><th colspan="2">a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>'
    )


@pytest.mark.parametrize("text", ["<p>" + "".join(f"<b {i:x}>" for i in range(n)) + "</p><p>x" * n for n in (300, 1000, 3000)])
def test_html_does_not_grow(text):
    assert len(clean_html(text)) < 500_000


@pytest.mark.parametrize("text", ["<ul><li>" * 6_000, "<div></x>" * 5_000, "<div><!--</div>-->" * 2_700, "<dl><dd>" * 1_499])
def test_html_is_cleaned_in_no_time(text):
    began = time.process_time()
    clean_html(text)
    assert time.process_time() - began < 0.2


def test_a_cell_shows_so_much_html_and_then_text():
    bundle = {"text/plain": "a table", "text/html": "<p>" + "x" * 30_000 + "</p>"}
    shown = [o["data"] for o in cell_outputs(CellOutcome(outputs=(bundle,) * 5))]
    assert [*map(len, shown)] == [2, 2, 2, 1, 1]
    assert all(data["text/plain"] == "a table" for data in shown)


def test_entities_hide_nothing():
    assert clean_html("a&#x202e;b&#x200b;c").removeprefix(NO_FORMULAS) == "a�b�c</div>"


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
    for other in (base64.b64encode(b"<svg>").decode(), png(60_000, 60_000)):
        assert "image/png" not in clean_bundle({"image/png": other})


def test_text_is_limited_and_shows_what_is_there():
    outputs = cell_outputs(CellOutcome(stdout="x" * 1_000_000))
    assert len(outputs[0]["text"]) < MAX_TEXT + 100
    assert visible("a\u202eb\x1b[31mc\x1b[0m\x00") == "a�bc�"


def test_an_error_is_kept_with_the_learners_lines_only():
    failed = CellOutcome("error", "ValueError: no", where=("line 3, in f: return g(x)",), error="ValueError")
    assert cell_outputs(failed)[-1]["traceback"] == ["line 3, in f: return g(x)", "ValueError: no"]
