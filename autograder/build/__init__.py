"""From what a person wrote to the three editions: `source/`, `release/`, `notebooks/`. One way only."""

from autograder.build.editions import build, stale

__all__ = ["build", "stale"]
