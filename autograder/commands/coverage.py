"""`dlcourse coverage`."""

import json
import sys

import click

from autograder.course import chapters, course_root, find_chapter
from autograder.coverage import Coverage, coverage_of


@click.command(epilog="Example: dlcourse coverage 04-activations --json")
@click.argument("names", metavar="[CHAPTER]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def coverage(names: tuple[str, ...], as_json: bool) -> None:
    """Show what covers each objective of a chapter, and what is missing.

    Exit code 1 if an objective is not covered.
    """
    root = course_root()
    chosen = [find_chapter(root, n) for n in names] or list(chapters(root).values())
    found = [coverage_of(c) for c in chosen]
    if as_json:
        click.echo(
            json.dumps([{"chapter": c.chapter, "objectives": c.by_objective, "missing": c.missing, "unknown": c.unknown} for c in found])
        )
    else:
        for c in found:
            _print(c, details=bool(names))
    sys.exit(0 if all(c.complete for c in found) else 1)


def _print(c: Coverage, details: bool) -> None:
    click.echo(f"{c.chapter}: {len(c.by_objective) - len(c.missing)} of {len(c.by_objective)} objectives covered")
    if details:
        for objective, by in c.by_objective.items():
            click.echo(f"  {objective:<40} {', '.join(by) or 'MISSING'}")
    else:
        for objective in c.missing:
            click.echo(f"  missing: {objective}")
    for what, names in c.unknown.items():
        click.echo(f"  {what} names unknown objectives: {', '.join(names)}")
