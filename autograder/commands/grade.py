"""`dlcourse grade`."""

import gc
import os

import click

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # one worker per core; must be set before numpy is imported


@click.command(epilog="Example: dlcourse grade 04-activations --from submissions.zip")
@click.argument("names", metavar="[CHAPTER]...", nargs=-1)
@click.option("--student", "students", multiple=True, metavar="ID", help="Only this student; may be given several times.")
@click.option("--from", "origin", type=click.Path(exists=True), metavar="FOLDER_OR_ZIP", help="Take over what a platform hands out first.")
@click.option("--workers", type=click.IntRange(1), help="Processes that judge. Default: one for each core.")
@click.option("--sandbox", type=click.Choice(["full", "none"]), default="full", show_default=True, help="How submissions are locked in.")
@click.option("--force", is_flag=True, help="Grade again what has not changed.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def grade(
    names: tuple[str, ...], students: tuple[str, ...], origin: str | None, workers: int | None, sandbox: str, force: bool, as_json: bool
) -> None:
    """Grade submissions: gradebook, graded notebooks, feedback pages, and a summary.

    Submissions lie under submitted/ID/CHAPTER/. Without CHAPTER, all that have submissions are graded. What has not changed since it was
    graded is not graded again. Exit code 1 if a submission could not be graded.
    """
    from autograder.course import course_root
    from autograder.grading.shared import start_if_needed
    from autograder.lean import lean

    zygotes = start_if_needed(course_root(), sandbox, workers or 0, force or bool(origin))
    try:
        gc.disable()  # what is imported is no garbage, and looking for some takes half a second
        lean()
        from autograder.grading.batch import Options
        from autograder.grading.run import run

        gc.freeze()
        gc.enable()
        options = Options(students, workers or 0, sandbox, force, zygotes=zygotes)
        raise SystemExit(run(names, origin, options, as_json))
    finally:
        if zygotes:
            zygotes.close()
