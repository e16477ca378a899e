"""What `dlcourse attack` does: run the attacks, tell what became of each."""

import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from autograder.attacks import runs
from autograder.attacks.attack import GROUPS, Attack, load_attacks
from autograder.attacks.runs import Result
from autograder.grading.shared import cores

#: How many attacks share a course of stock nbgrader: a course that one of them harms is graded again in halves, at some seconds each.
_STOCK_BATCH = 3


def run(root: Path, names: Sequence[str], stock: bool, as_json: bool) -> int:
    """Run the attacks and tell; returns the exit code."""
    attacks = load_attacks(root / "tests" / "attacks", names)
    began = time.monotonic()
    with _progress(as_json) as bar:
        ours = against_ours(root, attacks, bar.advance_of("this grader", len(attacks)))
        seconds = [time.monotonic() - began]
        theirs = against_stock(root, attacks, bar.advance_of("stock nbgrader", len(attacks))) if stock else []
        seconds.append(time.monotonic() - began - seconds[0])
    (_tell_json if as_json else _tell)(ours, theirs, seconds)
    return 0 if all(r.held for r in ours) else 1


def against_ours(root: Path, attacks: Sequence[Attack], tell: runs.Tell = lambda done: None) -> list[Result]:
    """All attacks as one batch of this grader."""
    return runs.run(attacks, root, runs.ours, tell)


def against_stock(root: Path, attacks: Sequence[Attack], tell: runs.Tell = lambda done: None) -> list[Result]:
    """Attacks that stock nbgrader survives share a course, the others get one each; a course for each core at a time."""
    fit = [a for a in attacks if not a.handout]
    shared = [a for a in fit if not a.alone]
    batches = [shared[i : i + _STOCK_BATCH] for i in range(0, len(shared), _STOCK_BATCH)] + [[a] for a in fit if a.alone]
    found: dict[str, list[str]] = {}
    with ProcessPoolExecutor(cores(), multiprocessing.get_context("fork")) as pool:
        for job in as_completed([pool.submit(_stock_batch, root, [a.name for a in batch]) for batch in batches]):
            found |= job.result()
            tell(len(job.result()))
    return [Result(a, found[a.name]) for a in fit]


def _stock_batch(root: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Attack → what it broke, in a process of its own: what an attack leaves running belongs to the course that it was in."""
    attacks = load_attacks(root / "tests" / "attacks", names)
    return {r.attack.name: r.broken for r in runs.run(attacks, root, runs.stock)}


class _Bar:
    """A progress bar for each grader."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def advance_of(self, name: str, total: int) -> runs.Tell:
        """A function that is told how many more are done."""
        task = self.progress.add_task(name, total=total)
        return lambda done: self.progress.advance(task, done)


@contextmanager
def _progress(quiet: bool) -> Iterator[_Bar]:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty()) as progress:
        yield _Bar(progress)


def _tell_json(ours: Sequence[Result], theirs: Sequence[Result], seconds: Sequence[float]) -> None:
    stock = {r.attack.name: r.broken for r in theirs}
    rows = [
        {"attack": r.attack.name, "group": r.attack.group, "says": r.attack.says, "ours": r.broken, "stock": stock.get(r.attack.name)}
        for r in ours
    ]
    click.echo(json.dumps({"attacks": rows, "seconds": {"ours": seconds[0], "stock": seconds[1]}}, ensure_ascii=False, indent=1))


def _tell(ours: Sequence[Result], theirs: Sequence[Result], seconds: Sequence[float]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    stock = {r.attack.name: r for r in theirs}
    for group, says in GROUPS.items():
        rows = [r for r in ours if r.attack.group == group]
        if rows:
            console.print(_table(says, rows, stock))
    console.print(_summary("this grader", ours, seconds[0]))
    if theirs:
        console.print(_summary("stock nbgrader", theirs, seconds[1]))


def _table(title: str, rows: Sequence[Result], stock: dict[str, Result]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("attack", overflow="fold", min_width=24)
    table.add_column("what it tries", overflow="fold", ratio=3)
    table.add_column("this grader", overflow="fold", ratio=2)
    if stock:
        table.add_column("stock nbgrader", overflow="fold", ratio=2)
    for r in rows:
        cells: list[Any] = [Text(r.attack.name), Text(r.attack.says), _word(r)]
        table.add_row(*cells, *([_word(stock.get(r.attack.name))] if stock else []))
    return table


def _word(result: Result | None) -> Text:
    if result is None:
        return Text("not tried", style="dim")
    return Text("held", style="green") if result.held else Text("broken: " + "; ".join(result.broken), style="red")


def _summary(name: str, results: Sequence[Result], seconds: float) -> str:
    held = sum(r.held for r in results)
    return f"{name}: {held} of {len(results)} attacks held, {len(results) - held} succeeded, {seconds:.0f} s"
