"""`dlcourse check`."""

import json
import os
import sys
from pathlib import Path

import click

os.environ.setdefault("OMP_NUM_THREADS", "1")  # must be set before numpy is imported


@click.command(epilog="Example: dlcourse check notebooks/04-activations.ipynb")
@click.argument("notebook", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the page goes. Default: beside the notebook.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def check(notebook: Path, output: Path | None, as_json: bool) -> None:
    """Grade one notebook on your own machine: a card for each exercise here, and all of them on one HTML page.

    Takes notebooks of the self-study and of the class edition, finished or not. Save the notebook first. No gradebook is touched. Exit
    code 0 if everything is solved, else 1.
    """
    from autograder.lean import lean

    lean()
    from autograder.card import lines, number
    from autograder.course import chapters, course_root
    from autograder.grading.feedback import feedback_page
    from autograder.grading.files import write_whole
    from autograder.grading.own import check as judge
    from autograder.grading.own import find_work

    root = course_root()
    blueprint, submission = find_work(root, chapters(root).values(), notebook)
    graded = judge(blueprint, submission, lambda v: None if as_json else click.echo("\n".join(lines(v)) + "\n"))
    page = output or notebook.with_name(f"{notebook.stem}.feedback.html")
    write_whole(page, feedback_page("", blueprint.chapter, graded))
    if as_json:
        found = {"chapter": blueprint.chapter.name, "points": graded.points, "max_points": graded.max_points, "page": str(page)}
        click.echo(json.dumps(found | {"exercises": [c.verdict.as_json() for c in graded.cells]}, ensure_ascii=False))
    else:
        click.echo(f"{number(graded.points)} of {number(graded.max_points)} points. All cards on one page: {page}")
    sys.exit(0 if graded.points == graded.max_points else 1)
