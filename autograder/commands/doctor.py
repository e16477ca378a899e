"""`dlcourse doctor`."""

import sys

import click


@click.command(epilog="Example: dlcourse doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Look at this machine: what grading needs, what is missing, and how to mend it.

    Proves by trying that submissions can be locked in. Exit code 1 if something needed is missing.
    """
    from autograder import doctor as parts
    from autograder.course import course_root

    findings = parts.examine(course_root(), (lambda finding: None) if as_json else _show)
    if as_json:
        click.echo(parts.as_json(findings))
    else:
        click.echo("\nReady to grade." if parts.ready(findings) else "\nNot ready to grade.")
    sys.exit(0 if parts.ready(findings) else 1)


def _show(finding: "parts.Finding") -> None:  # noqa: F821
    mark, color = ("✓", "green") if finding.good else ("✗", "red") if finding.needed else ("!", "yellow")
    click.echo(f"{click.style(mark, fg=color)} {finding.what}: {finding.found}")
    if not finding.good:
        click.echo(f"    {finding.mend}")
