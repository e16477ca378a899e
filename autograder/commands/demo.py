"""`dlcourse demo`."""

import os

import click

os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before numpy is imported


@click.command(epilog="Example: dlcourse demo 04-activations")
@click.argument("chapter", default="04-activations")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--sandbox", type=click.Choice(["full", "none"]), default="full", show_default=True, help="How submissions are locked in.")
def demo(chapter: str, as_json: bool, sandbox: str) -> None:
    """Grade five sample submissions through nbgrader and show what each student gets.

    A right one, one that stops half-way, one full of classic mistakes, an empty one, and one whose file is damaged. They are graded in a
    course of their own under .build/demo. Exit code 1 if one does not get exactly the points that it deserves.
    """
    from autograder.lean import lean

    lean()
    from autograder.course import course_root, find_chapter
    from autograder.grading.demo_run import run

    root = course_root()
    raise SystemExit(run(root, find_chapter(root, chapter), as_json, sandbox))
