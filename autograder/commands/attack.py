"""`dlcourse attack`."""

import os

import click

os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before numpy is imported


@click.command(epilog="Example: dlcourse attack --stock --only forge --only read-answers-file")
@click.option(
    "--stock", is_flag=True, help="Run them against stock nbgrader too, for comparison. It really executes them, for half an hour."
)
@click.option("--only", "names", multiple=True, metavar="NAME", help="Only this attack or group of attacks; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def attack(stock: bool, names: tuple[str, ...], as_json: bool) -> None:
    """Hand in hostile submissions and tell which of them succeed.

    The attacks are the files under tests/attacks/. Each is graded beside an honest submission in a throw-away course. It succeeds if it
    earns points that its code does not deserve, shows something hidden, changes a file or a grade, stops the batch, outlives it, or puts
    active content before the instructor. Exit code 1 if one succeeds against this grader.
    """
    from autograder.lean import lean

    lean()
    from autograder.attacks.report import run
    from autograder.course import course_root

    raise SystemExit(run(course_root(), names, stock, as_json))
