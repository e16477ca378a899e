"""What an instructor sees after a run: a table of students and exercises, and the misconceptions that were found."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from autograder.card import number
from autograder.grading.batch import Batch
from autograder.grading.jobs import Entry
from autograder.grading.telling import one_line

_STYLES = {"passed": "green", "partly": "yellow", "not attempted": "dim", "not run": "dim"}
_MARKS = {"time": "T", "memory": "M", "died": "D", "forbidden": "F", "error": "E", "not attempted": "–", "not run": "×"}
_LEGEND = {"E": "stopped with an error", "T": "out of time", "M": "out of memory", "D": "process died", "F": "forbidden shortcut",
           "–": "not attempted", "×": "not run"}  # fmt: skip


def as_json(batch: Batch) -> dict[str, Any]:
    """The result of a run for programs."""
    return {
        "submissions": [_submission(e) for e in batch.entries],
        "misconceptions": [
            {"chapter": chapter, "exercise": exercise, "trap": trap, "students": n, "teaching": teaching}
            for chapter, entries in by_chapter(batch.entries)
            for (exercise, trap, teaching), n in misconceptions(entries)
        ],
        "warnings": [one_line(w) for w in batch.warnings],
        "interrupted": batch.interrupted,
    }


def _submission(entry: Entry) -> dict[str, Any]:
    verdicts = entry.verdicts or []
    return {
        "student": entry.student,
        "chapter": entry.chapter.name,
        "state": entry.state,
        "why": entry.why,
        "points": sum(v["points"] for v in verdicts),
        "max_points": sum(v["max_points"] for v in verdicts),
        "notes": list(entry.notes),
        "feedback": str(entry.feedback),
        "exercises": [{k: v[k] for k in ("exercise", "points", "max_points", "status", "trap", "message")} for v in verdicts],
    }


def by_chapter(entries: Iterable[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """The submissions of each chapter."""
    chapters: dict[str, list[Entry]] = {}
    for entry in entries:
        chapters.setdefault(entry.chapter.name, []).append(entry)
    return iter(chapters.items())


def misconceptions(entries: Sequence[Entry]) -> list[tuple[tuple[str, str, str], int]]:
    """((exercise, trap, what a teacher says), how many made it), most frequent first."""
    found = Counter((v["exercise"], v["trap"], v["teaching"]) for e in entries for v in e.verdicts or [] if v["trap"])
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))


def show(batch: Batch, console: Console) -> None:
    """Print the tables."""
    for chapter, entries in by_chapter(batch.entries):
        console.print(Group(*_tables(chapter, [e for e in entries if e.verdicts])))
    for warning in batch.warnings:
        console.print(f"[yellow]![/] {escape(one_line(warning))}", soft_wrap=True)


def _tables(chapter: str, entries: list[Entry]) -> Iterator[RenderableType]:
    if not entries:
        return
    yield students_table(chapter, entries)
    used = {_MARKS.get(v["status"]) for e in entries for v in e.verdicts or [] if not v["points"]}
    yield Text(", ".join(f"{mark} {words}" for mark, words in _LEGEND.items() if mark in used), style="dim")
    yield exercises_table(entries)
    found = misconceptions(entries)
    if found:
        yield misconceptions_table(found)


def students_table(chapter: str, entries: Sequence[Entry]) -> Table:
    """A row for each student, a column for each exercise."""
    verdicts = entries[0].verdicts or []
    table = Table(title=f"{chapter}: points", title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("student", overflow="fold", min_width=8)
    for i, _ in enumerate(verdicts):
        table.add_column(str(i + 1), justify="right")
    table.add_column("sum", justify="right", style="bold")
    for e in entries:
        points = sum(v["points"] for v in e.verdicts or [])
        table.add_row(Text(e.student), *(_cell(v) for v in e.verdicts or []), number(points))
    most = [v["max_points"] for v in verdicts]
    table.add_section()
    table.add_row("of", *map(number, most), number(sum(most)), style="dim")
    return table


def _cell(verdict: dict[str, Any]) -> Text:
    text = number(verdict["points"]) if verdict["points"] else _MARKS.get(verdict["status"], "0")
    return Text(text, style=_STYLES.get(verdict["status"], "red"))


def exercises_table(entries: Sequence[Entry]) -> Table:
    """What the columns mean, and how the class did."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD)
    for name, justify in (("", "right"), ("exercise", "left"), ("mean", "right"), ("of", "right"), ("solved", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for i, column in enumerate(zip(*(e.verdicts or [] for e in entries))):
        mean = sum(v["points"] for v in column) / len(column)
        solved = sum(v["status"] == "passed" for v in column)
        table.add_row(str(i + 1), column[0]["exercise"], f"{mean:.1f}", number(column[0]["max_points"]), f"{solved} of {len(column)}")
    return table


def misconceptions_table(found: Sequence[tuple[tuple[str, str, str], int]]) -> Table:
    """Which mistakes were recognised, and how often."""
    table = Table(title="Misconceptions found", title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("students", justify="right")
    table.add_column("exercise · mistake", overflow="fold")
    table.add_column("what they were told", overflow="fold")
    for (exercise, trap, teaching), n in found:
        table.add_row(str(n), Text(f"{exercise}\n{trap}"), Text(teaching))
    return table
