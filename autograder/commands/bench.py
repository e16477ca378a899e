"""`dlcourse bench`."""

import json
import shutil
import sys

import click

from autograder.course import course_root, find_chapter


@click.group(epilog="Example: dlcourse bench grading -n 20")
def bench() -> None:
    """Measure how quick the grader is."""


@bench.command(epilog="Example: dlcourse bench grading -n 20 --json")
@click.option("-n", "n", default=20, show_default=True, help="How many submissions.")
@click.option("--chapter", "name", default="04-activations", show_default=True, help="Of which chapter.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def grading(n: int, name: str, as_json: bool) -> None:
    """Grade N varied submissions with stock nbgrader and with ours, and compare scores and throughput.

    Both run in throw-away courses under .build/bench. Exit code 1 if a score differs.
    """
    from autograder.bench import measure

    root = course_root()
    work = root / ".build" / "bench"
    shutil.rmtree(work, ignore_errors=True)
    r = measure(root, find_chapter(root, name), n, work, lambda text: click.echo(f"… {text}", err=True))
    if as_json:
        click.echo(json.dumps(r.as_json()))
    else:
        click.echo(f"{r.submissions} submissions of {r.chapter}")
        click.echo(f"  throughput     {r.ours:.2f} a second, stock nbgrader {r.stock:.3f}: {r.ratio:.0f} times")
        click.echo(f"  one alone      {r.latency:.1f} s from the command to the feedback page, {r.marginal:.2f} s for each one more")
        click.echo(f"  processor time {r.cpu_of_one:.2f} s for each one more, {r.cpu_around:.2f} s of it around its cells and its checks")
        click.echo(f"  memory         {r.megabytes:.0f} MB in the largest process, stock nbgrader {r.stock_megabytes:.0f} MB")
        click.echo("  where the time goes (one worker, three submissions):")
        for step, share in sorted(r.split.items(), key=lambda pair: -pair[1]):
            click.echo(f"    {share:5.0%} {step}")
        click.echo("\n".join(f"  DIFFERENT {d}" for d in r.different) or "  scores         equal, cell by cell")
    sys.exit(1 if r.different else 0)
