"""A verdict as a card (HTML) and as lines of text."""

from html import escape
from string import Template

from autograder.verdict import Verdict

_COLORS = {"passed": "#1a7f37", "partly": "#9a6700", "not attempted": "#57606a", "not run": "#57606a"}
WORDS = {
    "passed": "Solved",
    "partly": "Partly right",
    "failed": "Not right yet",
    "error": "Your code stopped",
    "time": "Out of time",
    "memory": "Out of memory",
    "died": "The process died",
    "forbidden": "A shortcut that the task rules out",
    "not attempted": "Not attempted yet",
    "not run": "Not run",
}
_CARD = Template(
    '<div class="dlcourse-card mathjax_ignore tex2jax_ignore" '
    'style="border:1px solid #d0d7de;border-left:6px solid $color;border-radius:6px;'
    "padding:10px 14px;margin:6px 0;background:#ffffff;color:#1f2328;"
    'font-family:system-ui,sans-serif;font-size:14px;line-height:1.5;max-width:60em">'
    '<div><b style="color:$color">$mark $word</b> &nbsp; <code style="background:none;color:#1f2328">$exercise</code>'
    " &nbsp; <b>$points of $max_points points</b></div>$body</div>"
)
_PRE = (
    '<pre style="margin:2px 0 6px 0;padding:6px 8px;background:#f6f8fa;color:#1f2328;border-radius:4px;white-space:pre-wrap;'
    'overflow-wrap:anywhere;font-size:13px">{}</pre>'
)


def number(points: float) -> str:
    """Points as people write them: 2, 2.5."""
    return f"{points:g}"


def card(verdict: Verdict) -> str:
    """The verdict as one self-contained HTML element. Everything that came from a submission is escaped."""
    color = _COLORS.get(verdict.status, "#cf222e")
    mark = {"passed": "✓", "not attempted": "○", "not run": "○"}.get(verdict.status, "✗")
    return _CARD.substitute(
        color=color,
        mark=mark,
        word=WORDS[verdict.status],
        exercise=escape(verdict.exercise),
        points=number(verdict.points),
        max_points=number(verdict.max_points),
        body="".join(_parts(verdict)),
    )


def _parts(verdict: Verdict) -> list[str]:
    parts = [f'<div style="margin:4px 0">{_lamps(verdict)}</div>'] if verdict.lamps else []
    if verdict.message:
        parts.append(f'<div style="margin:6px 0">{escape(verdict.message)}</div>')
    if verdict.where:
        parts.append("<div>In your code:</div>" + _PRE.format(escape("\n".join(verdict.where))))
    if verdict.counterexample:
        parts.append("<div>Smallest input found that fails:</div>" + _PRE.format(escape(_comparison(verdict))))
    if verdict.teaching:
        teaching = escape(verdict.teaching)
        parts.append(
            '<div style="margin:6px 0;padding:6px 10px;background:#fff8c5;color:#1f2328;border-radius:4px">'
            f"<b>What probably happened:</b> {teaching}</div>"
        )
    parts.extend(f'<div style="margin:4px 0;color:#57606a">{escape(note)}</div>' for note in verdict.notes)
    return parts


def _lamps(verdict: Verdict) -> str:
    def lamp(name: str, passed: bool) -> str:
        sign, color, word = ("●", "#1a7f37", "passed") if passed else ("○", "#cf222e", "failed")
        return f'<span style="margin-right:1.2em" title="{word}">{escape(name)} <span style="color:{color}">{sign}</span></span>'

    return "".join(lamp(*pair) for pair in verdict.lamps)


def _comparison(verdict: Verdict) -> str:
    rows = [verdict.counterexample or ""]
    rows += [f"{word:<9} {text}" for word, text in (("expected:", verdict.expected), ("got:", verdict.got)) if text is not None]
    return "\n".join(rows)


def lines(verdict: Verdict) -> list[str]:
    """The verdict as lines for a terminal."""
    head = f"{WORDS[verdict.status]}: {verdict.exercise}, {number(verdict.points)} of {number(verdict.max_points)} points"
    out = [head]
    if verdict.lamps:
        out.append("  " + "  ".join(f"{name} {'●' if passed else '○'}" for name, passed in verdict.lamps))
    if verdict.message:
        out.append(f"  {verdict.message}")
    out += [f"    {line}" for line in verdict.where]
    if verdict.counterexample:
        out += ["  Smallest input found that fails:", *(f"    {row}" for row in _comparison(verdict).splitlines())]
    if verdict.teaching:
        out.append(f"  What probably happened: {verdict.teaching}")
    return out + [f"  {note}" for note in verdict.notes]
