"""Keep libraries from running code of theirs at every fork, which costs half of what a fork costs.

They reset locks for other threads, of which the zygote has none, seed `random`, which `serve` does anyway, and close fonts.
"""

import os
from collections.abc import Callable

_held: list[Callable] = []


def hold() -> None:
    """From now on what is to run in every fork is kept, not registered. To be called before anything else is imported."""
    os.register_at_fork = _keep


def run_held() -> None:
    """Run it once, here: the forks inherit what it did."""
    for hook in _held:
        hook()


def _keep(*, before: Callable | None = None, after_in_parent: Callable | None = None, after_in_child: Callable | None = None) -> None:
    if after_in_child:
        _held.append(after_in_child)
