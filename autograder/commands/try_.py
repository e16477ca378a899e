"""`dlcourse try`."""

import json
import sys
from pathlib import Path

import click

from autograder.card import lines
from autograder.course import course_root, find_exercise
from autograder.solo import judge_text
from autograder.verdict import Verdict

FIELDS = ("exercise", "points", "max_points", "passed", "trap", "message", "counterexample")


@click.command(name="try", epilog="Example: dlcourse try activations.stable-sigmoid mine.py --json")
@click.argument("exercise")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as one JSON object.")
def try_(exercise: str, file: Path, as_json: bool) -> None:
    """Grade one Python file that defines what EXERCISE asks for.

    The file runs after the chapter's set-up cell, so np and torch are there. Exit code 0 if it earns all points, else 1.
    """
    chapter, id = find_exercise(course_root(), exercise)
    verdict = judge_text(chapter, {id: file.read_text(encoding="utf-8", errors="replace")})[id]
    click.echo(json.dumps(summary(verdict)) if as_json else "\n".join(lines(verdict)))
    sys.exit(0 if verdict.passed else 1)


def summary(verdict: Verdict) -> dict:
    """The verdict in the fields that programs read."""
    full = verdict.as_json()
    return {name: full[name] for name in FIELDS}
