"""Text of authors as safe HTML: Markdown, with `$math$` left for the front end to typeset and raw HTML escaped."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable
from typing import Any


def inline(text: str) -> str:
    """One line of Markdown as HTML, without a paragraph around it.

    Examples
    --------
    >>> inline("`x` < $a_1$")
    '<code>x</code> &lt; $a_1$'
    """
    return _parser().renderInline(str(text))


def block(text: str) -> str:
    """Markdown of any length as HTML: paragraphs, lists, code fences, tables.

    Examples
    --------
    >>> block("Is **this** <b>safe</b>?")
    '<p>Is <strong>this</strong> &lt;b&gt;safe&lt;/b&gt;?</p>\\n'
    """
    return _parser().render(str(text))


def plain(text: str) -> str:
    """The words of Markdown, without its marks: for tooltips and terminals.

    Examples
    --------
    >>> plain("`x` is **not** $a_1$")
    'x is not $a_1$'
    """
    return html.unescape(re.sub(r"<[^>]*>", "", block(text))).strip()


@functools.cache
def _parser() -> Any:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").use(dollarmath_plugin)
    for rule, mark in {"math_inline": "$", "math_inline_double": "$$", "math_block": "$$"}.items():
        parser.add_render_rule(rule, _math_between(mark))
    return parser


def _math_between(mark: str) -> Callable[..., str]:
    def render(_renderer: Any, tokens: Any, index: int, _options: Any, _env: Any) -> str:
        return f"{mark}{html.escape(tokens[index].content)}{mark}"

    return render
