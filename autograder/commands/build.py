"""`dlcourse build`."""

import json
import sys

import click

from autograder.course import chapters, course_root, find_chapter


@click.command(epilog="Example: dlcourse build 04-activations --check")
@click.argument("names", metavar="[CHAPTER]...", nargs=-1)
@click.option("--check", is_flag=True, help="Write nothing; name committed editions that are stale and exit with 1 if there are any.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def build(names: tuple[str, ...], check: bool, as_json: bool) -> None:
    """Build the editions: chapters/ to source/, release/ and notebooks/.

    Without CHAPTER all are built. The files are byte-identical on every machine.
    """
    from autograder.lean import lean

    lean()
    from autograder.build import build as write
    from autograder.build import stale

    root = course_root()
    chosen = [find_chapter(root, n) for n in names] or list(chapters(root).values())
    show = (lambda text: None) if as_json else (lambda text: click.echo(f"… {text}", err=True))
    found = [str(p if not p.is_absolute() else p.relative_to(root)) for p in (stale if check else write)(root, chosen, show)]
    if as_json:
        click.echo(json.dumps({"stale" if check else "written": found}))
    elif check:
        click.echo("\n".join(f"stale: {p}" for p in found) or f"{len(chosen)} chapters: all editions are up to date.")
        if found:
            click.echo("Run `dlcourse build` and commit the result.", err=True)
    else:
        click.echo("\n".join(f"wrote {p}" for p in found))
    sys.exit(1 if check and found else 0)
