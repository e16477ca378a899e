"""Make harmless what a submission printed and displayed, before anybody sees it.

Text stays text. Of HTML only plain structure remains: no style, no class, no link, no image, so that nothing can run, call home, or look
like a verdict. Pictures are PNG only. SVG, JavaScript, LaTeX and Markdown, which a viewer would interpret, are dropped.
"""

import base64
import binascii
import re
import struct
from typing import Any

import nh3

from autograder.student import plaintext
from autograder.student.outcome import CellOutcome

MAX_TEXT = 10_000
MAX_IMAGE = 1_500_000
MAX_PIXELS = 25_000_000
MAX_SIDE = 10_000
MAX_OUTPUTS = 20
#: Characters of HTML that are taken of one cell.
MAX_HTML = 100_000
_TAGS = set(
    re.findall(r"\w+", "table thead tbody tfoot tr th td caption p br b i em strong code pre ul ol li sub sup span div hr dl dt dd")
)
_ATTRIBUTES = {"td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}
#: A formatting tag that is not closed where it should be is repeated in every element after it: so many pairs of the two may be.
_MAX_PAIRS = 100_000
#: Cleaning takes time with the square of how deep tags nest.
_MAX_TAGS = 3_000
_TAG = re.compile(r"<\s*[a-z]", re.I)
_FORMATTING = re.compile(r"<\s*(b|i|em|strong|code|a|big|font|nobr|s|small|strike|tt|u)\b", re.I)
#: JupyterLab typesets formulas in HTML; nbgrader's pages do so by an older program.
NO_FORMULAS = '<div class="mathjax_ignore tex2jax_ignore">'
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_PNG = b"\x89PNG\r\n\x1a\n"


def visible(text: str) -> str:
    """Text in which every character can be seen, without a terminal's colours."""
    return plaintext.visible(_ANSI.sub("", text.replace("\r\n", "\n")))


def limited(text: str, most: int = MAX_TEXT) -> str:
    """The beginning of a text, with a note if there was more."""
    return text if len(text) <= most else f"{text[:most]}\n… {len(text) - most} more characters are not shown"


def clean_html(text: str) -> str:
    """HTML of a submission with nothing but structure left, in which no formula is typeset; "" if it is too much."""
    text = _ANSI.sub("", limited(text, 5 * MAX_TEXT))
    if len(_FORMATTING.findall(text)) * text.count("<") > _MAX_PAIRS or len(_TAG.findall(text)) > _MAX_TAGS:
        return ""
    cleaned = nh3.clean(text, tags=_TAGS, attributes=_ATTRIBUTES, attribute_filter=_span, link_rel=None, strip_comments=True)
    # one character for another: to take some away could take the quote with it that closes an attribute
    return f"{NO_FORMULAS}{plaintext.visible(cleaned)}</div>" if cleaned else ""


def _span(tag: str, attribute: str, value: str) -> str | None:
    """How many columns or rows a cell takes, if it is a moderate number: a browser lays out all of them."""
    return value if re.fullmatch(r"[0-9]{1,2}", value) else None


def is_png(text: str) -> bool:
    """Whether a base64 text is a picture of moderate size, in bytes and in pixels."""
    try:
        head = base64.b64decode(text, validate=False)[:24] if len(text) <= MAX_IMAGE else b""
    except (binascii.Error, ValueError):
        return False
    if len(head) < 24 or head[:8] != _PNG:
        return False
    width, height = struct.unpack(">II", head[16:24])
    return width * height <= MAX_PIXELS and max(width, height) <= MAX_SIDE


def clean_bundle(bundle: dict[str, str]) -> dict[str, str]:
    """A mime bundle with what may be shown of it."""
    cleaned = {"text/plain": limited(visible(bundle.get("text/plain", "")))}
    html = clean_html(bundle.get("text/html", ""))
    if html:
        cleaned["text/html"] = html
    if is_png(bundle.get("image/png", "")) and bundle.get("image/png"):
        cleaned["image/png"] = bundle["image/png"]
    return cleaned


def cell_outputs(outcome: CellOutcome | None) -> list[dict[str, Any]]:
    """What a solution cell shows in the graded notebook, in nbformat's terms."""
    if outcome is None:
        return []
    streams = [(name, limited(visible(getattr(outcome, name)))) for name in ("stdout", "stderr")]
    shown = [{"output_type": "stream", "name": name, "text": text} for name, text in streams if text]
    bundles, left = [], MAX_HTML
    for bundle in outcome.outputs[:MAX_OUTPUTS]:
        left -= len(bundle.get("text/html", ""))
        bundles.append(clean_bundle(bundle if left >= 0 else bundle | {"text/html": ""}))
    shown += [{"output_type": "display_data", "metadata": {}, "data": b} for b in bundles]
    return shown + _error(outcome)


def _error(outcome: CellOutcome) -> list[dict[str, Any]]:
    if outcome.status == "ok":
        return []
    lines = [visible(line) for line in (*outcome.where, outcome.message)]
    return [{"output_type": "error", "ename": outcome.error or outcome.status, "evalue": visible(outcome.message), "traceback": lines}]
