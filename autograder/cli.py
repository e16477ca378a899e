"""The command `dlcourse`. Each subcommand lives in its own module under `autograder/commands/`."""

import importlib
import sys
from typing import Any

import click

from autograder.errors import CourseError

#: Name → module and attribute, imported when the command is used.
COMMANDS = {
    "build": "autograder.commands.build:build",
    "grade": "autograder.commands.grade:grade",
    "check": "autograder.commands.check:check",
    "try": "autograder.commands.try_:try_",
    "coverage": "autograder.commands.coverage:coverage",
    "doctor": "autograder.commands.doctor:doctor",
    "demo": "autograder.commands.demo:demo",
    "attack": "autograder.commands.attack:attack",
    "bench": "autograder.commands.bench:bench",
}


class _Lazy(click.Group):
    """A group whose commands are imported on use, and whose errors are sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CourseError as error:
            click.echo(f"dlcourse: {error}", err=True)
            sys.exit(2)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dlcourse")
def main() -> None:
    """A deep-learning course whose exercises grade themselves.

    \b
    Learners:     dlcourse try activations.stable-sigmoid mine.py
                  dlcourse check notebooks/04-activations.ipynb
    Instructors:  dlcourse grade 04-activations --from submissions.zip
    Authors:      dlcourse build 04-activations

    Exit codes: 0 done, 1 done and something is not as it should be (a wrong solution, a stale edition), 2 could not be done.
    """


if __name__ == "__main__":
    main()
